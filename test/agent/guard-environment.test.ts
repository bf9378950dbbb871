// The environment of guard processes: what they need, nothing that the agent may hold besides.
import { afterEach, expect, test, vi } from 'vitest'
import { guardEnvironment } from '../../agent/guard-environment.ts'

afterEach(() => vi.unstubAllEnvs())

test('path, temporary folder and compile cache are kept, secrets and options for Node are not', () => {
  vi.stubEnv('PATH', '/bin')
  vi.stubEnv('TMPDIR', '/scratch')
  vi.stubEnv('NODE_COMPILE_CACHE', '/cache')
  vi.stubEnv('NODE_OPTIONS', '--inspect')
  vi.stubEnv('VARVE_TOKEN', 'secret')
  expect(guardEnvironment()).toEqual({ PATH: '/bin', TMPDIR: '/scratch', NODE_COMPILE_CACHE: '/cache' })
})

test('what is not set is left out', () => {
  vi.stubEnv('PATH', '/bin')
  vi.stubEnv('TMPDIR', undefined)
  vi.stubEnv('NODE_COMPILE_CACHE', undefined)
  expect(guardEnvironment()).toEqual({ PATH: '/bin' })
})
