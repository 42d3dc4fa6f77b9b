/** Every hook, by library. */
import { expressJwtHook } from './express-jwt.ts'
import { expressOauth2JwtBearerHook } from './express-oauth2-jwt-bearer.ts'
import type { Hook } from './hook.ts'
import { joseHook } from './jose.ts'
import { jsonwebtokenHook } from './jsonwebtoken.ts'
import { openidClientHook } from './openid-client.ts'
import { passportHook } from './passport.ts'

export const HOOKS: readonly Hook[] = [
  jsonwebtokenHook,
  joseHook,
  passportHook,
  expressJwtHook,
  expressOauth2JwtBearerHook,
  openidClientHook,
]
