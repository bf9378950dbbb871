// QEMU as a client that writes a disk: one request after the other, none of which ever fails for want of space.
import type { Socket } from 'node:net'
import { ClientSocket } from '../export/client-socket.ts'
import type { Offered, Settled } from '../export/negotiation.ts'
import { ERRNO, readRequest, ReplyChunks, requestBytes, simpleReply, type Request } from '../export/requests.ts'
import { COMMAND, PAYLOAD_BYTES_MAX } from '../nbd/wire.ts'
import type { PushedDisk } from './pushed-disk.ts'
import { BLOCK_BYTES } from './written.ts'

/** Bytes of a write that are taken at once: whole blocks, and all that one client makes this process hold. */
const PIECE_BYTES = 16 * BLOCK_BYTES

/** A disk as QEMU is offered it. */
export interface Target extends Offered {
  readonly disk: PushedDisk
}

export const targetOf = (name: string, disk: PushedDisk): Target => ({
  name,
  description: '',
  size: disk.size,
  preferred: BLOCK_BYTES,
  contexts: [],
  isTarget: true,
  disk,
})

/** A request that no QEMU makes of such a disk; null for one that it makes. */
const faultOf = ({ command, offset, length }: Request, size: number): string | null => {
  if (command === COMMAND.flush) return null
  if (command !== COMMAND.write && command !== COMMAND.writeZeroes) return 'this disk is only written to'
  return length > 0 && offset < size && length <= size - offset ? null : 'a write of nothing, or past the end'
}

const take = async (client: ClientSocket, { command, offset, length }: Request, disk: PushedDisk): Promise<void> => {
  if (command === COMMAND.writeZeroes) disk.zero(offset, length)
  if (command !== COMMAND.write) return
  for (let at = 0; at < length;) {
    const bytes = await client.take(Math.min(length - at, PIECE_BYTES))
    disk.write(offset + at, bytes)
    at += bytes.length
  }
}

const serve = async (client: ClientSocket, { exported: { disk }, mode }: Settled<Target>): Promise<void> => {
  let wrote = false
  try {
    for (;;) {
      const request = readRequest(await client.take(requestBytes(mode)), mode)
      if (request === null || request.command === COMMAND.disconnect || request.payload > PAYLOAD_BYTES_MAX) return
      const fault = faultOf(request, disk.size)
      if (fault === null) {
        wrote = true
        await take(client, request, disk)
      } else {
        disk.break(`a client that is not QEMU's backup job writes it: ${fault}`)
        await client.skip(request.payload)
      }
      const { cookie } = request
      if (mode === 'simple') await client.send([simpleReply(cookie, fault === null ? 0 : ERRNO.invalid)])
      else {
        const chunks = new ReplyChunks(request, mode)
        await client.send([fault === null ? chunks.end() : chunks.error(ERRNO.invalid, fault)])
      }
    }
  } finally {
    // a part of what it was about to write may be missing
    if (wrote && !disk.sealed) disk.break('the connection on which QEMU writes it has ended')
  }
}

/** Serves a client until it has gone. */
export const serveWriter = async (socket: Socket, targets: readonly Target[]): Promise<void> => {
  const client = new ClientSocket(socket)
  await client.run(targets, (settled) => serve(client, settled))
}
