// The environment of guard processes: what they need, nothing that the agent may hold besides.
import { afterEach, expect, test, vi } from 'vitest'
import { guardEnvironment } from '../../agent/guard-environment.ts'

afterEach(() => vi.unstubAllEnvs())

test('path, temporary folder, compile cache and count of heaps are kept, secrets and options for Node are not', () => {
  vi.stubEnv('PATH', '/bin')
  vi.stubEnv('TMPDIR', '/scratch')
  vi.stubEnv('NODE_COMPILE_CACHE', '/cache')
  vi.stubEnv('MALLOC_ARENA_MAX', '2')
  vi.stubEnv('NODE_OPTIONS', '--inspect')
  vi.stubEnv('VARVE_TOKEN', 'secret')
  const kept = { PATH: '/bin', TMPDIR: '/scratch', NODE_COMPILE_CACHE: '/cache', MALLOC_ARENA_MAX: '2' }
  expect(guardEnvironment()).toEqual(kept)
})

test('what is not set is left out', () => {
  vi.stubEnv('PATH', '/bin')
  vi.stubEnv('TMPDIR', undefined)
  vi.stubEnv('NODE_COMPILE_CACHE', undefined)
  vi.stubEnv('MALLOC_ARENA_MAX', undefined)
  expect(guardEnvironment()).toEqual({ PATH: '/bin' })
})
