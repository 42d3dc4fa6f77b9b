import { TestLog, SHAPES } from './executions.ts'
import { createAudit } from '@rootspan/lineage/audit'
const log = new TestLog()
let t=performance.now()
for (let trace=1; log.size < 60000; trace++) {
  const spans = Array.from({length: 12}, (_, i) => i===0 ? {id: trace*16+i+1} : {id: trace*16+i+1, parent: trace*16+((i-1)>>1)+1})
  log.settle(trace, [spans])
}
console.log('made', log.size, performance.now()-t)
const note = log.checkpoint()
const bundles=[]; const tiles=[]
for (let i=0;i*256<log.size;i++){ const w=Math.min(256, log.size-i*256); bundles.push(log.entryBundle(i,w)); tiles.push(log.tile(0,i,w)) }
for (let r=0;r<8;r++){
t=performance.now(); const c=process.cpuUsage()
const audit = createAudit({checkpoint: note, policy: log.policy})
for (let i=0;i<bundles.length;i++) { audit.add(bundles[i]!, tiles[i]!); for (const x of audit.takeTiles()) audit.compare(x, log.tile(x.level,x.index,x.width)) }
const rep = audit.finish()
const u=process.cpuUsage(c)
console.log(rep.size, 'rate', Math.round(rep.size/(performance.now()-t)*1000), 'cpu us/rec', (u.user+u.system)/rep.size, process.memoryUsage().rss/1e6)
}
