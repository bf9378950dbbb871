// A call's messages: credits, order, ends, aborts and memory. Method: two channels joined by a link that the test holds and
// releases.
import * as fc from 'fast-check'
import * as v from 'valibot'
import { describe, expect, test } from 'vitest'
import { Channel, type ChannelLink } from '../../protocol/channel.ts'
import { VarveError } from '../../protocol/errors.ts'
import { decodeFrame, encodeFrame, FRAME } from '../../protocol/frames.ts'
import { MESSAGE_COST_BYTES_MIN } from '../../protocol/limits.ts'
import type { Stream } from '../../protocol/method.ts'
import { retainedBytes } from './memory.ts'
import { arrived, codeOf, codeThrown } from './peer-pair.ts'

const MIB = 1024 * 1024
const ID = 5
const GONE = new VarveError('CONNECTION_LOST', 'gone')

const streamOf = (windowBytes: number): Stream => ({ message: v.instance(Uint8Array), windowBytes })
const frameOf = (message: unknown): Uint8Array => Uint8Array.from(encodeFrame([FRAME.data, ID, message]))
const messageOf = (bytes: number, mark = 0): Uint8Array => new Uint8Array(bytes).fill(mark)
const costOf = (message: Uint8Array): number => Math.max(frameOf(message).length, MESSAGE_COST_BYTES_MIN)

class Link implements ChannelLink {
  readonly sent: Uint8Array[] = []
  /** To be called when the socket has taken what was sent. */
  readonly taken: (() => void)[] = []
  #undrained: Promise<void> = Promise.resolve()

  send(bytes: Uint8Array, sent?: () => void): void {
    this.sent.push(Uint8Array.from(bytes))
    if (sent !== undefined) this.taken.push(sent)
  }

  drained(): Promise<void> {
    return this.#undrained
  }

  /** Pretends that the network has not taken what was sent, until the returned function is called. */
  block(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#undrained = promise
    return resolve
  }

  get types(): number[] {
    return this.sent.map((bytes) => decodeFrame(bytes)[0])
  }

  /** First byte of each message that was sent. */
  get marks(): number[] {
    return this.sent.flatMap((bytes) => {
      const frame = decodeFrame(bytes)
      return frame[0] === FRAME.data ? [(frame[2] as Uint8Array)[0] ?? 0] : []
    })
  }

  get credit(): number {
    return this.sent.reduce((sum, bytes) => {
      const frame = decodeFrame(bytes)
      return frame[0] === FRAME.credit ? sum + frame[2] : sum
    }, 0)
  }
}

const senderOf = (windowBytes = MIB): { link: Link; channel: Channel<unknown, unknown> } => {
  const link = new Link()
  return { link, channel: new Channel(ID, link, streamOf(windowBytes), null) }
}

const receiverOf = (windowBytes = MIB): { link: Link; channel: Channel<unknown, Uint8Array> } => {
  const link = new Link()
  const channel = new Channel<unknown, Uint8Array>(ID, link, null, streamOf(windowBytes))
  channel.open()
  return { link, channel }
}

const isDone = async (work: Promise<unknown>): Promise<boolean> => {
  let done = false
  const mark = (): void => void (done = true)
  work.then(mark, mark)
  await arrived()
  return done
}

describe('sending', () => {
  test('takes memory until the socket has taken the message, or it never will be sent', async () => {
    const { link, channel } = senderOf()
    let used = 0
    const room = { take: () => (used++, () => void used--) }
    channel.onCredit(MESSAGE_COST_BYTES_MIN)
    await channel.send(messageOf(1), room)
    const waiting = channel.send(messageOf(1), room)
    expect(used).toBe(2)
    for (const taken of link.taken) taken()
    expect(used).toBe(1)
    channel.abort(GONE)
    expect(await codeOf(waiting)).toBe('CONNECTION_LOST')
    expect(used).toBe(0)
  })

  test('never goes beyond the credit, in any pattern of messages and credits, and keeps the order', async () => {
    const step = fc.oneof(
      fc.record({ send: fc.integer({ min: 0, max: 2000 }) }),
      fc.record({ credit: fc.integer({ min: 1, max: 3000 }) }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const { link, channel } = senderOf()
        let credit = 0
        let mark = 0
        const costs: number[] = []
        for (const one of steps) {
          if ('credit' in one) {
            credit += one.credit
            channel.onCredit(one.credit)
          } else {
            const message = messageOf(one.send + 1, mark++ % 256)
            costs.push(costOf(message))
            channel.send(message).catch(() => {})
          }
          const spent = costs.slice(0, link.sent.length).reduce((sum, cost) => sum + cost, 0)
          expect(spent).toBeLessThanOrEqual(credit)
          // nothing waits that could go
          const next = costs[link.sent.length]
          if (next !== undefined) expect(spent + next).toBeGreaterThan(credit)
        }
        expect(link.marks).toEqual(link.marks.map((_, index) => index % 256))
        channel.abort(GONE)
      }),
      { numRuns: 100 },
    )
  })

  test('a small message does not overtake a large one that waits', async () => {
    const { link, channel } = senderOf()
    channel.onCredit(1000)
    const large = channel.send(messageOf(2000, 1))
    const small = channel.send(messageOf(10, 2))
    expect(await isDone(small)).toBe(false)
    expect(link.sent).toEqual([])
    // one more that comes in the very turn in which the credit does
    channel.onCredit(5000)
    const last = channel.send(messageOf(10, 3))
    await Promise.all([large, small, last])
    expect(link.marks).toEqual([1, 2, 3])
  })

  test('an end waits for the messages before it', async () => {
    const { link, channel } = senderOf()
    const waiting = channel.send(messageOf(100))
    channel.end()
    expect(link.sent).toEqual([])
    channel.onCredit(1000)
    await waiting
    expect(link.types).toEqual([FRAME.data, FRAME.end])
    channel.end()
    expect(link.sent).toHaveLength(2)
    expect(await codeOf(channel.send(messageOf(1)))).toBe('STREAM_INVALID')
  })

  test('resolves only when the network has taken it', async () => {
    const { link, channel } = senderOf()
    channel.onCredit(1000)
    const unblock = link.block()
    const sending = channel.send(messageOf(10))
    expect(await isDone(sending)).toBe(false)
    unblock()
    expect(await isDone(sending)).toBe(true)
  })

  test('what cannot be sent at all is STREAM_INVALID at once', async () => {
    const { channel } = senderOf(1000)
    channel.onCredit(5000)
    expect(await codeOf(channel.send(messageOf(1000)))).toBe('STREAM_INVALID')
    expect(await codeOf(channel.send(Symbol('no')))).toBe('STREAM_INVALID')
    expect(await codeOf(channel.send(messageOf(900)))).toBe('none')
    expect(await codeOf(receiverOf().channel.send(messageOf(1)))).toBe('STREAM_INVALID')
  })

  test('credit beyond every exact number is CREDIT_EXCEEDED', () => {
    const { channel } = senderOf()
    channel.onCredit(Number.MAX_SAFE_INTEGER)
    expect(codeThrown(() => channel.onCredit(1))).toBe('CREDIT_EXCEEDED')
  })
})

describe('receiving', () => {
  test('grants the window, takes messages in order and grants again what was taken', async () => {
    const { link, channel } = receiverOf(2000)
    expect(link.credit).toBe(2000)
    for (let mark = 1; mark <= 3; mark++) channel.onData(frameOf(messageOf(500, mark)))
    const messages = channel[Symbol.asyncIterator]()
    expect((await messages.next()).value).toEqual(messageOf(500, 1))
    expect(link.credit, 'a quarter taken').toBe(2000)
    await messages.next()
    expect(link.credit, 'half taken').toBe(2000 + 2 * frameOf(messageOf(500)).length)
    await messages.next()
    channel.onEnd()
    expect((await messages.next()).done).toBe(true)
  })

  test('what is not taken is not granted again', () => {
    const { link, channel } = receiverOf(2000)
    for (let mark = 0; mark < 3; mark++) channel.onData(frameOf(messageOf(500, mark)))
    expect(codeThrown(() => channel.onData(frameOf(messageOf(500))))).toBe('CREDIT_EXCEEDED')
    expect(link.credit).toBe(2000)
  })

  test('a tiny message costs as much as it takes to hold', () => {
    const { channel } = receiverOf(10 * MESSAGE_COST_BYTES_MIN)
    for (let count = 0; count < 10; count++) channel.onData(frameOf(messageOf(1)))
    expect(codeThrown(() => channel.onData(frameOf(messageOf(1))))).toBe('CREDIT_EXCEEDED')
  })

  test('without a stream there is no credit at all', () => {
    expect(codeThrown(() => senderOf().channel.onData(frameOf(messageOf(1))))).toBe('CREDIT_EXCEEDED')
  })

  test('a message that comes late wakes the reader', async () => {
    const { channel } = receiverOf()
    const next = channel[Symbol.asyncIterator]().next()
    expect(await isDone(next)).toBe(false)
    channel.onData(frameOf(messageOf(3, 9)))
    expect((await next).value).toEqual(messageOf(3, 9))
  })

  test('a message of another shape is STREAM_INVALID for the reader', async () => {
    const { channel } = receiverOf()
    channel.onData(frameOf('text'))
    expect(await codeOf(channel[Symbol.asyncIterator]().next())).toBe('STREAM_INVALID')
  })

  test('a second end and a message after the end are FRAME_UNEXPECTED', () => {
    const { channel } = receiverOf()
    channel.onEnd()
    expect(codeThrown(() => channel.onEnd())).toBe('FRAME_UNEXPECTED')
    expect(codeThrown(() => channel.onData(frameOf(messageOf(1))))).toBe('FRAME_UNEXPECTED')
  })

  test('after the end nothing more is granted', async () => {
    const { link, channel } = receiverOf(2000)
    channel.onData(frameOf(messageOf(1500)))
    channel.onEnd()
    for await (const message of channel) expect(message).toHaveLength(1500)
    expect(link.credit).toBe(2000)
  })

  test('a window full of the costliest messages takes little more memory than the window', () => {
    const window = 4 * MIB
    // a frame of 1000 empty maps decodes to far more than its bytes; frames come as small views of large receive buffers
    const dense = frameOf(Array.from({ length: 1000 }, () => ({})))
    const tiny = frameOf(null)
    const fill = (frame: Uint8Array): void => {
      const { channel } = receiverOf(window)
      const before = retainedBytes()
      const cost = Math.max(frame.length, MESSAGE_COST_BYTES_MIN)
      for (let left = window; left >= cost; left -= cost) {
        const buffer = new Uint8Array(64 * 1024)
        buffer.set(frame, 100)
        channel.onData(buffer.subarray(100, 100 + frame.length))
      }
      expect(retainedBytes() - before).toBeLessThan(3 * window)
      channel.abort(GONE)
      expect(retainedBytes() - before).toBeLessThan(MIB)
    }
    fill(dense)
    fill(tiny)
  })
})

describe('ending', () => {
  test('an abort wakes every waiting sender and reader with its error', async () => {
    const link = new Link()
    const channel = new Channel<unknown, unknown>(ID, link, streamOf(MIB), streamOf(MIB))
    channel.open()
    const waiting = [channel.send(messageOf(1)), channel.send(messageOf(2)), channel[Symbol.asyncIterator]().next()]
    channel.abort(GONE)
    for (const one of waiting) expect(await codeOf(one)).toBe('CONNECTION_LOST')
    expect(await codeOf(channel.send(messageOf(3)))).toBe('CONNECTION_LOST')
    expect(await codeOf(channel[Symbol.asyncIterator]().next())).toBe('CONNECTION_LOST')
    expect(link.types).toEqual([FRAME.credit])
    channel.end()
    expect(link.sent).toHaveLength(1)
  })

  test('a finished call lets what was received be taken, and no sender wait for ever', async () => {
    const link = new Link()
    const channel = new Channel<unknown, Uint8Array>(ID, link, streamOf(MIB), streamOf(MIB))
    channel.open()
    channel.onData(frameOf(messageOf(3, 1)))
    const waiting = channel.send(messageOf(1))
    channel.finish()
    expect(await codeOf(waiting)).toBe('STREAM_INVALID')
    expect(await codeOf(channel.send(messageOf(1)))).toBe('STREAM_INVALID')
    const taken: Uint8Array[] = []
    for await (const message of channel) taken.push(message)
    expect(taken).toEqual([messageOf(3, 1)])
  })

  test('a finish wakes a reader that waits', async () => {
    const { channel } = receiverOf()
    const next = channel[Symbol.asyncIterator]().next()
    channel.finish()
    expect((await next).done).toBe(true)
  })
})
