// Hostile clients by the dozen, drawn by a seed: whatever they say, take or cut off, others get the right bytes meanwhile, what
// was held for them is bounded and given back once each, and in the end the server has nobody.
import { connect, type Socket } from 'node:net'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import type { Piece } from '../../../agent/export/chunk-source.ts'
import type { ExportedDisk } from '../../../agent/export/connection.ts'
import { ExportServer } from '../../../agent/export/server.ts'
import { NbdClient } from '../../../agent/nbd/client.ts'
import { Dice } from '../../support/model-dice.ts'
import { MIB } from '../../support/model-machine.ts'
import { testSeeds } from '../../support/seed.ts'
import { eventually, tempFolder } from '../../support/temp.ts'
import { diskOf } from './memory-tree.ts'
import { contexts, named } from './raw-client.ts'

const SIZE_BYTES = 12 * MIB + 512

/** Hostile clients of a run; more with VARVE_HOSTILE_CLIENTS. */
const CLIENTS = Number(process.env['VARVE_HOSTILE_CLIENTS'] ?? 60)
const AT_ONCE = 12

/** What one client may have held for it at once, in bytes, and a piece besides. */
const HELD_BYTES_MAX = 8 * MIB + 64 * 1024

/** A disk that counts what is held of it. */
class Counted {
  heldBytes = 0
  mostBytes = 0
  twice = 0
  readonly disk: ExportedDisk

  constructor(disk: ExportedDisk) {
    const hold = (piece: Piece): Piece => {
      this.heldBytes += piece.length
      this.mostBytes = Math.max(this.mostBytes, this.heldBytes)
      let isHeld = true
      const release = (): void => {
        if (!isHeld) this.twice++
        else this.heldBytes -= piece.length
        isHeld = false
        piece.release()
      }
      return { ...piece, release }
    }
    const source: ExportedDisk['source'] = {
      async *read(offset, length): AsyncGenerator<Piece> {
        for await (const piece of disk.source.read(offset, length)) {
          // as if it came from far away
          await new Promise((resolve) => setImmediate(resolve))
          yield hold(piece)
        }
      },
    }
    this.disk = { ...disk, source }
  }
}

const optionBytes = (number: number, data: Buffer, said = data.length): Buffer => {
  const header = Buffer.alloc(16)
  header.write('IHAVEOPT')
  header.writeUInt32BE(number, 8)
  header.writeUInt32BE(said, 12)
  return Buffer.concat([header, data])
}

const requestBytes = (own: Dice, isExtended: boolean): Buffer => {
  const bytes = Buffer.alloc(isExtended ? 32 : 28)
  bytes.writeUInt32BE(isExtended ? 0x21e41c71 : 0x25609513)
  bytes.writeUInt16BE(own.pick([0, 0, 0, 1, 4, 8, 32, 0xffff]), 4)
  bytes.writeUInt16BE(own.pick([0, 0, 0, 0, 7, 7, 3, 1, 4, 6, 8, 99]), 6)
  bytes.writeBigUInt64BE(BigInt(own.below(2 ** 30)), 8)
  const edges = [0, 1, SIZE_BYTES - 1, SIZE_BYTES, 2 ** 32 - 1, 2 ** 52]
  bytes.writeBigUInt64BE(BigInt(own.below(3) === 0 ? own.pick(edges) : own.below(SIZE_BYTES)), 16)
  const length = own.below(3) === 0 ? own.pick([0, 1, 2 ** 32 - 1, 32 * MIB, 32 * MIB + 1]) : own.below(12 * MIB)
  if (isExtended) bytes.writeBigUInt64BE(BigInt(own.below(8) === 0 ? 2 ** 50 : length), 24)
  else bytes.writeUInt32BE(length, 24)
  return bytes
}

/** Everything that it says, a part of it damaged. */
const saidBy = (own: Dice): readonly Buffer[] => {
  const said: Buffer[] = [Buffer.from([0, 0, 0, own.pick([3, 3, 3, 1, 0, 255])])]
  const isExtended = own.below(3) === 0
  if (isExtended) said.push(optionBytes(11, Buffer.alloc(0)))
  else if (own.below(3) > 0) said.push(optionBytes(8, Buffer.alloc(0)))
  const names = ['vda', '', 'no such disk', 'x'.repeat(5000)]
  const queries = ['base:allocation', 'base:', 'varve:changed:p1', '', 'x'.repeat(4000)]
  const asked = Array.from({ length: own.pick([0, 1, 2, 63, 200]) }, () => own.pick(queries))
  said.push(optionBytes(own.pick([9, 10, 10]), contexts(own.pick(['vda', 'vda', '', 'other']), asked)))
  for (let options = own.below(40); options > 0; options--)
    said.push(optionBytes(own.pick([3, 6, 4711, 5, 10]), named(own.pick(names), [own.below(8)])))
  if (own.below(8) > 0) said.push(optionBytes(own.pick([7, 7, 7, 1]), named('vda')))
  for (let requests = own.below(300); requests > 0; requests--) said.push(requestBytes(own, isExtended))
  if (own.below(2) === 0) {
    const spoiled = own.pick(said)
    if (spoiled.length > 0) spoiled[own.below(spoiled.length)]! ^= 1 << own.below(8)
  }
  return said
}

/** Says it, takes all, some or nothing of the answers, and goes in one way or another. */
const hostile = async (path: string, own: Dice): Promise<void> => {
  const socket: Socket = connect(path)
  socket.on('error', () => {})
  const gone = once(socket, 'close').catch(() => {})
  await Promise.race([once(socket, 'connect').catch(() => {}), gone])
  const takes = own.below(3)
  if (takes === 0) socket.resume()
  for (const bytes of saidBy(own)) {
    if (socket.destroyed) break
    socket.write(bytes)
    if (own.below(4) === 0) await new Promise((resolve) => setImmediate(resolve))
    if (takes === 1 && own.below(3) === 0) socket.read()
  }
  const goes = own.below(3)
  if (goes === 0) socket.destroy()
  else {
    socket.end()
    if (goes === 1) socket.resume()
    // the greedy ones are still owed answers, and go without them
    else setTimeout(() => socket.destroy(), own.below(50))
  }
  await gone
}

test('they harm nobody', { timeout: 120_000 }, async () => {
  const [seed = 0] = testSeeds(1)
  const dice = new Dice(seed)
  const bytes = Buffer.alloc(SIZE_BYTES, dice.bytes(4093))
  bytes.fill(0, 3 * MIB, 5 * MIB)
  const before = Buffer.from(bytes)
  before[7 * MIB]! ^= 1
  await using folder = await tempFolder()
  const counted = new Counted(diskOf(bytes, { before }))
  let clients = 0
  await using server = await ExportServer.open({
    listen: { socket: folder.join('s') },
    exports: [counted.disk],
    onFailure: () => {},
    onServed: () => {},
    onClients: (count) => void (clients = count),
  })
  expect(server.uri).toContain('nbd+unix')
  await using witness = await NbdClient.connect({
    socketPath: folder.join('s'),
    exportName: 'vda',
    contexts: ['base:allocation'],
  })
  let left = CLIENTS
  const run = async (): Promise<void> => {
    while (left-- > 0) await hostile(folder.join('s'), new Dice(dice.below(2 ** 30)))
  }
  const running = Promise.all(Array.from({ length: AT_ONCE }, run))
  let isOver = false
  void running.finally(() => (isOver = true))
  while (!isOver) {
    const offset = dice.below(SIZE_BYTES - 100_000)
    const read = Buffer.alloc(100_000)
    await witness.readInto(offset, read)
    expect({ seed, offset, same: read.equals(bytes.subarray(offset, offset + read.length)) }).toMatchObject({
      same: true,
    })
    await witness.blockStatus(offset, 1000)
  }
  await running
  await eventually(() => clients === 1)
  await eventually(() => counted.heldBytes === 0)
  expect({ seed, twice: counted.twice }).toEqual({ seed, twice: 0 })
  expect(counted.mostBytes).toBeLessThan((AT_ONCE + 1) * HELD_BYTES_MAX)
})
