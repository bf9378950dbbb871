// Checks the archive writer against the format's own numbers, read back field by field.
import { expect, test } from 'vitest'
import { writeCpio } from './cpio.ts'

const HEAD_BYTES = 110

interface Read {
  readonly path: string
  readonly mode: number
  readonly data: string
}

const readAll = (archive: Buffer): Read[] => {
  const found: Read[] = []
  let offset = 0
  const align = (): void => {
    offset = (offset + 3) & ~3
  }
  while (offset < archive.length) {
    expect(archive.toString('latin1', offset, offset + 6)).toBe('070701')
    const field = (index: number): number =>
      Number.parseInt(archive.toString('latin1', offset + 6 + index * 8, offset + 14 + index * 8), 16)
    const [mode, size, nameSize] = [field(1), field(6), field(11)]
    offset += HEAD_BYTES
    const path = archive.toString('utf8', offset, offset + nameSize - 1)
    offset += nameSize
    align()
    found.push({ path, mode, data: archive.toString('latin1', offset, offset + size) })
    offset += size
    align()
  }
  return found
}

test('an archive holds its entries in order and ends with the trailer', () => {
  const archive = writeCpio([
    { kind: 'folder', path: 'bin' },
    { kind: 'file', path: 'bin/program', data: Buffer.from('12345'), executable: true },
    { kind: 'link', path: 'bin/sh', target: 'program' },
    { kind: 'file', path: 'text', data: Buffer.from('1234') },
  ])
  expect(archive.length % 4).toBe(0)
  expect(readAll(archive)).toEqual([
    { path: 'bin', mode: 0o040755, data: '' },
    { path: 'bin/program', mode: 0o100755, data: '12345' },
    { path: 'bin/sh', mode: 0o120777, data: 'program' },
    { path: 'text', mode: 0o100644, data: '1234' },
    { path: 'TRAILER!!!', mode: 0, data: '' },
  ])
})
