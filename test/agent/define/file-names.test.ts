// The files of a restored machine's disks: in its folder, whatever the disks are called, and never one for two.
import path from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { diskFiles } from '../../../agent/define/file-names.ts'

test.for([
  ['vda', 'vda.qcow2'],
  ['../../etc/passwd', '_._.._etc_passwd.qcow2'],
  ['#block123', '_block123.qcow2'],
  ['.hidden', '_hidden.qcow2'],
  ['a b:c,d', 'a_b_c_d.qcow2'],
  ['-rf', '_rf.qcow2'],
  ['Ä', '_.qcow2'],
])('%s is %s', ([disk, file]) => {
  expect(diskFiles([disk!], 'qcow2').get(disk!)).toBe(file)
})

test('any name is a file in the folder that a shell and QEMU take as it is', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, maxLength: 255, unit: 'binary' }), (disk) => {
      const file = diskFiles([disk], 'raw').get(disk)!
      expect(file).toMatch(/^[A-Za-z0-9_][A-Za-z0-9._-]*\.raw$/u)
      expect(path.dirname(path.join('/m', file))).toBe('/m')
      expect(file.length).toBeLessThan(210)
    }),
  )
})

test.for([[['a:b', 'a/b']], [['vda', 'VDA']], [['x'.repeat(250), 'x'.repeat(251)]]])(
  '%s would be one file',
  ([disks]) => {
    expect(() => diskFiles(disks!, 'raw')).toThrow(expect.objectContaining({ code: 'TARGET_INVALID' }))
  },
)
