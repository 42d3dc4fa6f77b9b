/** Every hook, by library. */
import { casbinHook } from './casbin.ts'
import { caslHook } from './casl.ts'
import { cedarHook } from './cedar.ts'
import type { Hook } from './hook.ts'
import { jsonwebtokenHook } from './jsonwebtoken.ts'

export const HOOKS: readonly Hook[] = [casbinHook, caslHook, cedarHook, jsonwebtokenHook]
