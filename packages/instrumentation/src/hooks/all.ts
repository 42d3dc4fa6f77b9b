/** Every hook, by library; and those for protocols over HTTP, whatever library speaks them. */
import { authzenHook } from './authzen.ts'
import { casbinHook } from './casbin.ts'
import { caslHook } from './casl.ts'
import { cedarHook } from './cedar.ts'
import { expressJwtHook } from './express-jwt.ts'
import { expressOauth2JwtBearerHook } from './express-oauth2-jwt-bearer.ts'
import type { Hook } from './hook.ts'
import type { HttpHook } from './http/exchange.ts'
import { joseHook } from './jose.ts'
import { jsonwebtokenHook } from './jsonwebtoken.ts'
import { mcpHook } from './mcp.ts'
import { opaHook } from './opa.ts'
import { opaHttpHook } from './opa-http.ts'
import { openfgaHook } from './openfga.ts'
import { openidClientHook } from './openid-client.ts'
import { passportHook } from './passport.ts'
import { spicedbHook } from './spicedb.ts'

export const HOOKS: readonly Hook[] = [
  jsonwebtokenHook,
  joseHook,
  passportHook,
  expressJwtHook,
  expressOauth2JwtBearerHook,
  openidClientHook,
  opaHook,
  openfgaHook,
  spicedbHook,
  cedarHook,
  casbinHook,
  caslHook,
  mcpHook,
]

export const HTTP_HOOKS: readonly HttpHook[] = [opaHttpHook, authzenHook]
