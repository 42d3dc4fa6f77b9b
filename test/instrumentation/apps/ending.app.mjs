// Does one governed thing and ends in the way that it is told to.
import { recordDecision, withExecution } from '../../../packages/instrumentation/src/index.ts'

withExecution({ name: 'nightly', kind: 'job' }, () => {
  recordDecision({ outcome: 'allow', engine: 'test', action: 'nightly' })
})
console.log('done')

const forever = () => setInterval(() => {}, 1000)
switch (process.env.ENDING) {
  case 'signal':
    forever()
    break
  case 'own listener': {
    const timer = forever()
    process.on('SIGTERM', () => {
      withExecution({ name: 'closing', kind: 'job' }, () => {})
      clearInterval(timer)
    })
    break
  }
  case 'exception':
    setTimeout(() => {
      throw new Error('planned')
    }, 10)
    break
  case 'rejection':
    Promise.reject(new Error('planned'))
    break
  case 'exit':
    process.exit(3)
}
