// Tokens from files and pipes: one that is used again and again is no other user's to read.
import { chmod, writeFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { tokenIn } from '../../../protocol/host/token-file.ts'
import { tempFolder } from '../../support/temp.ts'

const printedBy = 'varve-gateway token issue'

test('a secret token is taken from a file of its owner alone, or from standard input', async () => {
  await using temp = await tempFolder()
  const file = temp.join('token')
  await writeFile(file, ' a.b.c\n', { mode: 0o600 })
  expect(await tokenIn({ file, printedBy, secret: true })).toBe('a.b.c')
  expect(await tokenIn({ file: '-', printedBy, secret: true, input: Readable.from(['i.n.p\n']) })).toBe('i.n.p')
  await chmod(file, 0o640)
  await expect(tokenIn({ file, printedBy, secret: true })).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: `${file} must be readable by its owner only: chmod 600 ${file}`,
  })
  expect(await tokenIn({ file, printedBy })).toBe('a.b.c')
  await writeFile(file, 'two words')
  await expect(tokenIn({ file, printedBy })).rejects.toMatchObject({
    code: 'PARAMS_INVALID',
    message: `${file} does not hold exactly one token as "varve-gateway token issue" prints it`,
  })
})
