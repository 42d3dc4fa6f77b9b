#!/usr/bin/env node
import { runCommand } from './cli.ts'
import { nodeWorld } from './world.ts'

process.exitCode = await runCommand(process.argv.slice(2), nodeWorld(process))
