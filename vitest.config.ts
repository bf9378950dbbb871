// How the tests run: every *.test.ts under test/, each file in a process of its own.
import path from 'node:path'
import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/**
 * Longest time of one test or hook, in milliseconds: what takes seconds on an idle machine takes minutes on a slow and busy
 * one.
 */
const TEST_TIMEOUT_MS = 600_000

/** How long a file's process may take to end once its tests have, in milliseconds. */
const TEARDOWN_TIMEOUT_MS = 60_000

/** What takes longest, by the beginning of its path: it comes first, so that nothing long is left for the end. */
const LONGEST = ['test/model/model', 'test/interop/histories', 'test/interop/', 'test/model/'] as const

const rankOf = ({ moduleId }: TestSpecification): number => {
  const rank = LONGEST.findIndex((begin) => moduleId.startsWith(path.join(import.meta.dirname, begin)))
  return rank < 0 ? LONGEST.length : rank
}

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return (await super.sort(files)).toSorted((one, other) => rankOf(one) - rankOf(other))
  }
}

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/bench/**'],
    // what a test starts ends with its file, and everything with the run
    globalSetup: ['test/support/run-setup.ts'],
    setupFiles: ['test/support/file-setup.ts'],
    // Native modules and child processes are dependable only where a file ends with its process.
    pool: 'forks',
    isolate: true,
    // one more than vitest takes by itself on the two cores it is made for: most files wait for programs they started
    maxWorkers: 2,
    testTimeout: TEST_TIMEOUT_MS,
    hookTimeout: TEST_TIMEOUT_MS,
    teardownTimeout: TEARDOWN_TIMEOUT_MS,
    sequence: { sequencer: LongestFirst },
    retry: 0,
    allowOnly: false,
    passWithNoTests: false,
  },
})
