// How much memory a test's process holds on to.
import v8 from 'node:v8'
import vm from 'node:vm'

const collector = (): (() => void) => {
  v8.setFlagsFromString('--expose-gc')
  return vm.runInNewContext('gc') as () => void
}

const collect = collector()

/** Bytes of heap and buffers that are still reachable. */
export const retainedBytes = (): number => {
  collect()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

/** Bytes of heap and buffers that `work` takes while it runs, garbage included. */
export const takenBytes = (work: () => void): number => {
  collect()
  const total = (): number => {
    const { heapUsed, arrayBuffers } = process.memoryUsage()
    return heapUsed + arrayBuffers
  }
  const before = total()
  work()
  return total() - before
}
