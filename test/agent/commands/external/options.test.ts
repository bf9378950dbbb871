// How a disk of a lease is written on a command line.
import { expect, test } from 'vitest'
import { diskOf } from '../../../../agent/commands/external/options.ts'

test('a disk with and without a bitmap, with colons in names', () => {
  const plain = { name: 'vda', socketPath: '/run/vm.sock', exportName: 'vda' }
  expect(diskOf('vda=/run/vm.sock:vda')).toEqual({ ...plain, bitmap: null, state: 'none' })
  expect(diskOf('vda=/run/vm.sock:vda::none')).toEqual({ ...plain, bitmap: null, state: 'none' })
  expect(diskOf('vda=/run/vm.sock:vda:b0:new')).toEqual({ ...plain, bitmap: 'b0', state: 'new' })
  const access = { ...plain, bitmap: 'snapshot-access:store', state: 'reuse' }
  expect(diskOf('vda=/run/vm.sock:vda:snapshot-access:store:reuse')).toEqual(access)
  expect(diskOf('vda=/run/vm.sock:vda:snapshot-access%3Astore:reuse')).toEqual(access)
  expect(diskOf('a%3Db=/run/%3A:x%3Ay')).toMatchObject({ name: 'a=b', socketPath: '/run/:', exportName: 'x:y' })
  expect(diskOf('vda=/run/vm.sock:')).toMatchObject({ exportName: '' })
})

test('what is none is refused', () => {
  for (const text of [
    '',
    'vda',
    'vda=',
    'vda=/s',
    '=/s:e',
    'vda=/s:e:b',
    'vda=/s:e:b:none',
    'vda=/s:e::reuse',
    'vda=/s:%:b:new',
  ])
    expect(() => diskOf(text), text).toThrow()
})
