// The certificate authority that the configuration names.
import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { readCa } from '../../../agent/session/once.ts'
import { tempFolder } from '../../support/temp.ts'
import { failureOf } from '../restore/code-of.ts'

test('a configured certificate authority is read, and named when it cannot be', async () => {
  await using temp = await tempFolder()
  await writeFile(temp.join('ca.pem'), 'PEM')
  expect(await readCa(undefined)).toBe(null)
  expect((await readCa(temp.join('ca.pem')))?.toString()).toBe('PEM')
  const error = await failureOf(readCa(temp.join('gone.pem')))
  expect(error?.code).toBe('CONFIG_INVALID')
  expect(error?.message).toContain('gone.pem')
})
