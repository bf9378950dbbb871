// The certificate authority that a configuration or an option names.
import { readFile, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { readAuthority } from '../../../protocol/host/authority-file.ts'
import { failureOf } from '../../agent/restore/code-of.ts'
import { makeCertificate } from '../../support/certificates.ts'
import { tempFolder } from '../../support/temp.ts'

test('a configured certificate authority is read, and named with what is wrong when it cannot be', async () => {
  await using temp = await tempFolder()
  const pair = await makeCertificate(temp.path, 'ca')
  expect(await readAuthority('"ca"', undefined)).toBe(null)
  expect(await readAuthority('"ca"', pair.cert)).toEqual(await readFile(pair.cert))
  await writeFile(temp.join('empty.pem'), '')
  await writeFile(temp.join('text.pem'), 'PEM')
  for (const [file, says] of [
    [temp.join('gone.pem'), 'gone.pem: it does not exist'],
    [temp.path, 'it is a folder'],
    [temp.join('empty.pem'), 'empty.pem is empty'],
    [temp.join('text.pem'), 'text.pem holds no certificate'],
    [pair.key, 'ca.key holds a private key'],
  ] as const) {
    const error = await failureOf(readAuthority('"ca"', file))
    expect(error?.code).toBe('CONFIG_INVALID')
    expect(error?.message).toContain(says)
  }
})
