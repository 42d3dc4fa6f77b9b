import { describe, expect, test } from 'vitest'
import { otherAgents } from './loader.ts'

describe('other agents', () => {
  test.each<[string, string[], string | undefined, string[], string[]]>([
    ['none', ['--import', '@rootspan/instrumentation/register'], undefined, [], []],
    ['by a flag', ['--require', 'dd-trace/init'], undefined, [], ['dd-trace']],
    ['by the environment', [], '--import @sentry/node/preload', [], ['Sentry']],
    [
      'another loader',
      ['--experimental-loader=@opentelemetry/instrumentation/hook.mjs'],
      undefined,
      [],
      ['@opentelemetry/instrumentation/hook.mjs'],
    ],
    ['loaded by code', [], undefined, ['/app/node_modules/newrelic/index.js'], ['newrelic']],
    ['on Windows', [], undefined, ['C:\\app\\node_modules\\@splunk\\otel\\lib\\index.js'], ['@splunk/otel']],
    [
      'a directory that is called so',
      [],
      undefined,
      ['/home/newrelic/app/node_modules/express/index.js'],
      [],
    ],
    [
      'what OpenTelemetry itself loads',
      [],
      undefined,
      ['/app/node_modules/@opentelemetry/instrumentation/node_modules/import-in-the-middle/index.js'],
      [],
    ],
    ['two', ['-r', 'elastic-apm-node/start'], '-r dd-trace/init', [], ['dd-trace', 'Elastic APM']],
  ])('%s', (_, execArgv, options, loaded, expected) => {
    expect(otherAgents(execArgv, options, loaded)).toEqual(expected)
  })
})
