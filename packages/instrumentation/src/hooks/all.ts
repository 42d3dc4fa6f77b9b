/** Every hook, by library; and those for protocols over HTTP, whatever library speaks them. */
import { authzenHook } from './authzen.ts'
import { casbinHook } from './casbin.ts'
import { caslHook } from './casl.ts'
import { cedarHook } from './cedar.ts'
import type { Hook } from './hook.ts'
import type { HttpHook } from './http/exchange.ts'
import { jsonwebtokenHook } from './jsonwebtoken.ts'
import { mcpHook } from './mcp.ts'
import { opaHook } from './opa.ts'
import { opaHttpHook } from './opa-http.ts'
import { openfgaHook } from './openfga.ts'
import { spicedbHook } from './spicedb.ts'

export const HOOKS: readonly Hook[] = [
  casbinHook,
  caslHook,
  cedarHook,
  jsonwebtokenHook,
  mcpHook,
  opaHook,
  openfgaHook,
  spicedbHook,
]

export const HTTP_HOOKS: readonly HttpHook[] = [opaHttpHook, authzenHook]
