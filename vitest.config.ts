// How the tests run: every *.test.ts under test/, each file in a process of its own.
import { defineConfig } from 'vitest/config'

/** Longest time of one test or hook, in milliseconds; some boot QEMU or a browser several times. */
const TEST_TIMEOUT_MS = 60_000

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/bench/**'],
    // Native modules and child processes are dependable only where a file ends with its process.
    pool: 'forks',
    isolate: true,
    // one more than vitest takes by itself on the two cores it is made for: most files wait for programs they started
    maxWorkers: 2,
    testTimeout: TEST_TIMEOUT_MS,
    hookTimeout: TEST_TIMEOUT_MS,
    teardownTimeout: TEST_TIMEOUT_MS,
    retry: 0,
    allowOnly: false,
    passWithNoTests: false,
  },
})
