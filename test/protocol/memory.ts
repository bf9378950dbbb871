// How much memory a test's process holds on to.
import v8 from 'node:v8'
import vm from 'node:vm'

const collector = (): (() => void) => {
  v8.setFlagsFromString('--expose-gc')
  return vm.runInNewContext('gc') as () => void
}

const collect = collector()

const usedBytes = (): number => {
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

/** Bytes of heap and buffers that are still reachable. */
export const retainedBytes = (): number => {
  // what a first collection finds unreachable is given back beside it, and counted by the next
  for (let turn = 0; turn < 3; turn++) collect()
  return usedBytes()
}

/** Bytes of heap and buffers that `work` takes while it runs, garbage included. */
export const takenBytes = (work: () => void): number => {
  const before = retainedBytes()
  work()
  return usedBytes() - before
}
