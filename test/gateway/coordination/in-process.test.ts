// The coordination within one process.
import { InProcessCoordination } from '../../../gateway/coordination/in-process.ts'
import { coordinationSuite } from './coordination-suite.ts'

coordinationSuite('in-process', async () => {
  const coordination = new InProcessCoordination()
  return { join: async () => coordination, [Symbol.asyncDispose]: async () => {} }
})
