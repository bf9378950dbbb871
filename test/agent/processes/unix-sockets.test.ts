// The kernel's list of UNIX sockets, as it was seen.
import { expect, test } from 'vitest'
import { parseUnixSockets } from '../../../agent/processes/unix-sockets.ts'

test('who listens, who is connected, and what is no socket with a path', () => {
  const text = [
    'Num       RefCount Protocol Flags    Type St Inode Path',
    '000000006f9d145c: 00000002 00000000 00010000 0001 01 4556528 q.sock',
    '000000006f9d145d: 00000003 00000000 00000000 0001 03 4556529 /run/a b.qmp',
    '000000006f9d145e: 00000003 00000000 00000000 0001 02     0 /run/a b.qmp',
    '000000006f9d145f: 00000003 00000000 00000000 0001 03 4556531',
    'rubbish',
    '',
  ].join('\n')
  expect(parseUnixSockets(text)).toEqual([
    { inode: '4556528', path: 'q.sock', isListening: true, isConnected: false },
    { inode: '4556529', path: '/run/a b.qmp', isListening: false, isConnected: true },
    { inode: '0', path: '/run/a b.qmp', isListening: false, isConnected: true },
  ])
})
