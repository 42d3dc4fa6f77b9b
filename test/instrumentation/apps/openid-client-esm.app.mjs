// As an ES module.
import * as client from 'openid-client'
import serve from './openid-client.routes.cjs'

await serve(client)
