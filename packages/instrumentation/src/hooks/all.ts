/** Every hook, by library. */
import type { Hook } from './hook.ts'
import { jsonwebtokenHook } from './jsonwebtoken.ts'
import { mcpHook } from './mcp.ts'

export const HOOKS: readonly Hook[] = [jsonwebtokenHook, mcpHook]
