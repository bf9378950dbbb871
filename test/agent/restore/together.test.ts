// Images that are restored together: a few at once, all or none, and the first failure is the one that is told.
import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { IMAGES_AT_ONCE, nameTargets, restoreTogether, type OpenImage } from '../../../agent/restore/together.ts'
import type { Target } from '../../../agent/restore/target.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { LOAD, type Params } from '../../../protocol/methods.ts'
import { systemClock } from '../../../protocol/host/clock.ts'
import type { Handler, Peer } from '../../../protocol/peer.ts'
import { peerPair } from '../session/peer-pair.ts'

const CHUNK = 4096
const SIZE = 10 * CHUNK

class Noting implements Target {
  readonly steps: string[]
  readonly #name: string
  readonly #failing: string | null

  constructor(name: string, steps: string[], failing: string | null = null) {
    this.#name = name
    this.steps = steps
    this.#failing = failing
  }

  async #step(step: string): Promise<void> {
    if (step === this.#failing) throw new VarveError('TARGET_EXISTS', `${this.#name} is taken`)
    this.steps.push(`${step} ${this.#name}`)
  }

  async write(): Promise<void> {}

  zero(): Promise<void> {
    return this.#step('zero')
  }

  seal(): Promise<void> {
    return this.#step('seal')
  }

  check(): Promise<void> {
    return this.#step('check')
  }

  async publish(): Promise<readonly string[]> {
    await this.#step('publish')
    return [this.#name]
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

const NAMES = ['a', 'b', 'c', 'd', 'e', 'f', 'g']

/** Images of zeroes. */
const images = (steps: string[]): OpenImage[] =>
  NAMES.map((name) => ({ name, size: SIZE, root: null, opened: { target: new Noting(name, steps), left: null } }))

const together = async (serve: Handler<'image.download'>, steps: string[], signal: AbortSignal) => {
  const { agent } = peerPair({ 'image.download': serve }, systemClock)
  const done: number[] = []
  try {
    return await restoreTogether(images(steps), {
      point: randomUUID(),
      repeat: <R>(work: (peer: Peer) => Promise<R>) => work(agent),
      skipDamaged: false,
      signal,
      onProgress: (doneBytes) => void done.push(doneBytes),
    }).finally(() => expect(done).toEqual(done.toSorted((a, b) => a - b)))
  } finally {
    agent.close(new VarveError('CANCELLED', 'done'))
  }
}

const start = (position: number) =>
  [LOAD.start, { size: SIZE, chunkBytes: CHUNK, root: null, idKey: new Uint8Array(32), position }] as const

test('no more at once than the bound, and each one’s result in its place', async () => {
  let running = 0
  let most = 0
  const everyone = Promise.withResolvers<void>()
  const steps: string[] = []
  const restored = await together(
    async ({ position }: Params<'image.download'>, call) => {
      most = Math.max(most, ++running)
      if (running === IMAGES_AT_ONCE) everyone.resolve()
      await everyone.promise
      await call.send([...start(position)])
      await call.send([LOAD.zero, SIZE / CHUNK])
      running -= 1
      return {}
    },
    steps,
    new AbortController().signal,
  )
  expect(most).toBe(IMAGES_AT_ONCE)
  expect(restored).toHaveLength(NAMES.length)
  expect(steps.toSorted()).toEqual(NAMES.map((name) => `zero ${name}`))
})

test('the first failure ends the others, which are waited for, and none begins any more', async () => {
  const begun: string[] = []
  const ended: string[] = []
  const all = Promise.withResolvers<void>()
  const failing = together(
    async ({ disk }, call) => {
      begun.push(disk)
      if (begun.length === IMAGES_AT_ONCE) all.resolve()
      await all.promise
      if (disk === 'b') throw new VarveError('DATA_DAMAGED', 'b is damaged')
      await new Promise<void>((resolve) => call.signal.addEventListener('abort', () => resolve(), { once: true }))
      ended.push(disk)
      throw new VarveError('CANCELLED', 'it was cancelled')
    },
    [],
    new AbortController().signal,
  )
  await expect(failing).rejects.toMatchObject({
    code: 'DATA_DAMAGED',
    message: expect.stringContaining('b is damaged'),
  })
  expect(begun.toSorted()).toEqual(['a', 'b', 'c'])
  await expect.poll(() => ended.toSorted()).toEqual(['a', 'c'])
})

test('all names are taken once all can be, or none is', async () => {
  const steps: string[] = []
  const how = { checkPlaces: async () => void steps.push('places'), signal: new AbortController().signal }
  expect(await nameTargets([new Noting('a', steps), new Noting('b', steps)], how)).toEqual([['a'], ['b']])
  const ready = ['places', 'seal a', 'seal b', 'check a', 'check b', 'places']
  expect(steps).toEqual([...ready, 'publish a', 'publish b'])
  steps.length = 0
  const taken = nameTargets([new Noting('a', steps), new Noting('b', steps, 'check')], how)
  await expect(taken).rejects.toMatchObject({ code: 'TARGET_EXISTS' })
  expect(steps.filter((step) => step.startsWith('publish'))).toEqual([])
})
