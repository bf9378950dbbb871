// The handshake as a conversation without a socket: what it says, what it makes of the answers, and hostile ones.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { handshake, type NbdExport } from '../../../agent/nbd/handshake.ts'
import { encodeGo, encodeOption, encodeSetMetaContext } from '../../../agent/nbd/option-wire.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { blockSizeInfo, exportInfo, GREETING, metaContext, optionReply, u16, u32 } from './scripted-server.ts'

const REFUSED = 0x80000000
const acceptStructured = optionReply(8, 1)
const acceptContexts = optionReply(10, 1)
const accept = optionReply(7, 1)
const info = (data: Buffer): Buffer => optionReply(7, 3, data)

interface Heard {
  readonly said: Buffer[]
  /** Null when the server said too little. */
  readonly opened: NbdExport | null
  /** The largest buffer that was asked for, in bytes. */
  readonly largestBytes: number
}

/** Plays what a server says against the handshake of the export `vda`. */
const hear = (contexts: readonly string[], ...parts: readonly Buffer[]): Heard => {
  const said: Buffer[] = []
  const talk = handshake({ exportName: 'vda', contexts, send: (bytes) => said.push(bytes) })
  let bytes = Buffer.concat(parts)
  let largestBytes = 0
  for (;;) {
    const step = talk.next()
    if (step.done === true) return { said, opened: step.value, largestBytes }
    largestBytes = Math.max(largestBytes, step.value.length)
    if (step.value.length > bytes.length) return { said, opened: null, largestBytes }
    bytes.copy(step.value, 0, 0, step.value.length)
    bytes = bytes.subarray(step.value.length)
  }
}

const failure = (contexts: readonly string[], ...parts: readonly Buffer[]): VarveError => {
  try {
    hear(contexts, ...parts)
  } catch (error) {
    if (error instanceof VarveError) return error
    throw error
  }
  throw new Error('the handshake did not fail')
}

describe('an honest server', () => {
  test('is greeted, asked for structured replies, contexts and the export, in this order', () => {
    const contexts = ['base:allocation', 'qemu:dirty-bitmap:xfer']
    const { said, opened } = hear(
      contexts,
      GREETING,
      acceptStructured,
      metaContext(7, 'qemu:dirty-bitmap:xfer'),
      metaContext(3, 'base:allocation'),
      acceptContexts,
      info(u16(2)),
      info(blockSizeInfo(512, 4096, 1 << 20)),
      info(exportInfo(1 << 30)),
      accept,
    )
    expect(said).toEqual([u32(3), encodeOption(8), encodeSetMetaContext('vda', contexts), encodeGo('vda')])
    expect(opened?.size).toBe(1 << 30)
    expect(opened?.blockSize).toEqual({ minimum: 512, preferred: 4096, maximum: 1 << 20 })
    expect(opened?.contexts).toEqual(
      new Map([
        [7, 'qemu:dirty-bitmap:xfer'],
        [3, 'base:allocation'],
      ]),
    )
  })

  test('that says nothing of block sizes is taken to have the usual ones', () => {
    const { opened } = hear([], GREETING, acceptStructured, info(exportInfo(4096)), accept)
    expect(opened?.blockSize).toEqual({ minimum: 1, preferred: 4096, maximum: 32 << 20 })
  })

  test('may refuse, and says why', () => {
    const export_ = failure([], GREETING, acceptStructured, optionReply(7, REFUSED + 6, Buffer.from('no such export')))
    expect(export_).toMatchObject({ code: 'NBD_ERROR', details: { reply: 'unknown-export' } })
    expect(export_.message).toContain('no such export')
    expect(failure([], GREETING, optionReply(8, REFUSED + 1)).code).toBe('NBD_ERROR')
  })

  test('may not have the context', () => {
    const error = failure(['base:allocation'], GREETING, acceptStructured, acceptContexts)
    expect(error).toMatchObject({ code: 'NBD_ERROR', details: { context: 'base:allocation' } })
  })
})

describe('a hostile server', () => {
  const asked = ['base:allocation', 'qemu:dirty-bitmap:a']
  test.each([
    ['speaks first of something else', [Buffer.from('SSH-2.0-OpenSSH_9.2p1\r\n')]],
    ['answers another option', [GREETING, accept]],
    ['answers with a wrong magic', [GREETING, Buffer.alloc(20)]],
    ['acknowledges with data', [GREETING, optionReply(8, 1, Buffer.alloc(4))]],
    ['answers structured replies with an information', [GREETING, optionReply(8, 3)]],
    ['gives a context that is not wanted', [GREETING, acceptStructured, metaContext(1, 'base:other')]],
    [
      'gives a context twice',
      [GREETING, acceptStructured, metaContext(1, asked[0] ?? ''), metaContext(2, asked[0] ?? '')],
    ],
    ['gives two contexts one id', [GREETING, acceptStructured, ...asked.map((name) => metaContext(1, name))]],
    ['gives a context without an id', [GREETING, acceptStructured, optionReply(10, 4, Buffer.alloc(3))]],
  ])('%s', (_, parts) => {
    expect(failure(asked, ...parts).code).toBe('NBD_PROTOCOL')
  })

  test.each([
    ['opens an export without a size', [accept]],
    ['answers the export with a context', [optionReply(7, 4, Buffer.alloc(8))]],
    ['gives a short export information', [info(exportInfo(4096).subarray(0, 11))]],
    ['gives information for ever', Array.from({ length: 100 }, () => info(exportInfo(4096)))],
  ])('%s', (_, parts) => {
    expect(failure([], GREETING, acceptStructured, ...parts).code).toBe('NBD_PROTOCOL')
  })

  test('gets a typed error or no more than small buffers, whatever it flips, drops or adds', () => {
    const honest = Buffer.concat([
      GREETING,
      acceptStructured,
      metaContext(1, 'base:allocation'),
      acceptContexts,
      info(exportInfo(1 << 30)),
      accept,
    ])
    const position = fc.nat(honest.length - 1)
    const flips = fc.array(fc.tuple(position, fc.nat(255)), { minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(flips, position, fc.uint8Array({ maxLength: 8 }), (flips, at, added) => {
        const changed = Buffer.concat([honest.subarray(0, at), added, honest.subarray(at)])
        for (const [index, value] of flips) changed[index] = value
        try {
          expect(hear(['base:allocation'], changed).largestBytes).toBeLessThan(8192)
        } catch (error) {
          if (!(error instanceof VarveError)) throw error
          expect(error.code).toMatch(/^NBD_/)
        }
      }),
      { numRuns: 1000 },
    )
  })
})
