// As an ES module.
import * as jose from 'jose'
import { jwtVerify } from 'jose/jwt/verify'
import serve from './jose.routes.cjs'

serve(jose, jwtVerify)
