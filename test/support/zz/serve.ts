import { TestLog } from '../executions.ts'
import { serveLog } from '../log-server.ts'
import { writeFileSync } from 'node:fs'
const log = new TestLog()
for (let trace=1; log.size < Number(process.argv[2]); trace++) {
  const spans = Array.from({length: 12}, (_, i) => i===0 ? {id: trace*16+i+1} : {id: trace*16+i+1, parent: trace*16+((i-1)>>1)+1})
  log.settle(trace, [spans])
  if (trace % 500 === 0) log.checkpoint()
}
log.checkpoint()
writeFileSync('/tmp/serve.policy', log.policyText)
const s = await serveLog(log)
console.log(s.url)
