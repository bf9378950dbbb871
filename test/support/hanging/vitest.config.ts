// How the test that hangs is run: as all others are, with as much patience as is asked for.
import path from 'node:path'
import { defineConfig } from 'vitest/config'
import config from '../../../vitest.config.ts'

export default defineConfig({
  ...config,
  root: path.resolve(import.meta.dirname, '../../..'),
  test: {
    ...config.test,
    include: ['test/support/hanging/hanging.ts'],
    testTimeout: Number(process.env['VARVE_HANGING_MS']),
  },
})
