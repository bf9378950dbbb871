// Connections before their hello: whose go first when there are too many.
import { EventEmitter } from 'node:events'
import { expect, test } from 'vitest'
import { Strangers } from '../../../gateway/session/strangers.ts'

class FakeSocket extends EventEmitter {
  readonly remoteAddress: string
  readonly remotePort: number
  destroyed = false

  constructor(remoteAddress: string, remotePort: number) {
    super()
    this.remoteAddress = remoteAddress
    this.remotePort = remotePort
  }

  destroy(): void {
    this.destroyed = true
    this.emit('close')
  }
}

test('past the bound the oldest of the most crowded address goes, and nobody else', () => {
  const strangers = new Strangers(4)
  const own = new FakeSocket('192.0.2.1', 1)
  strangers.add(own)
  const crowd = Array.from({ length: 6 }, (_, index) => new FakeSocket('192.0.2.2', index))
  for (const socket of crowd) strangers.add(socket)
  expect(crowd.map(({ destroyed }) => destroyed)).toEqual([true, true, true, false, false, false])
  expect([own.destroyed, strangers.count]).toEqual([false, 4])
})

test('who said hello, or has gone, counts no more', () => {
  const strangers = new Strangers(2)
  const sockets = Array.from({ length: 4 }, (_, index) => new FakeSocket('192.0.2.1', index))
  const [first, second, third, fourth] = sockets as [FakeSocket, FakeSocket, FakeSocket, FakeSocket]
  strangers.add(first)
  // with TLS it is another object that says hello
  strangers.known(new FakeSocket('192.0.2.1', 0))
  strangers.add(second)
  second.emit('close')
  strangers.add(third)
  strangers.add(fourth)
  expect([strangers.count, sockets.some(({ destroyed }) => destroyed)]).toEqual([2, false])
  first.emit('close')
  expect(strangers.count).toBe(2)
})
