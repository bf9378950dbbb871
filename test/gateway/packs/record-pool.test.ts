// The threads behind the checks: many jobs at once, errors of one job that hurt no other, bounds, and an orderly end.
import { randomBytes } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { getPriority } from 'node:os'
import { describe, expect, test } from 'vitest'
import { hex } from '../../../protocol/chunk.ts'
import { asVarveError } from '../../../protocol/errors.ts'
import { damageOf } from '../../../gateway/packs/damage.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import { NICENESS, RecordPool } from '../../../gateway/packs/record-pool.ts'
import { joinChunks, rawChunk, zstdChunk, type JoinedChunks } from '../../protocol/wire-chunks.ts'

const idKey = new Uint8Array(randomBytes(32))

type Job = JoinedChunks & { readonly idKey: Uint8Array; readonly chunkBytes: number }

const jobOf = (plain: Uint8Array, id = keyedHash(idKey, plain)): Job => ({
  ...joinChunks([rawChunk(id, plain)]),
  idKey,
  chunkBytes: 4096,
})

describe('record pool', () => {
  test('answers every job with its own result, and a bad one with its own error', async () => {
    await using pool = new RecordPool(3)
    const plains = Array.from({ length: 200 }, () => new Uint8Array(randomBytes(1000)))
    const results = await Promise.allSettled(
      plains.map((plain, index) => pool.ingest(jobOf(plain, index % 10 === 3 ? new Uint8Array(32) : undefined))),
    )
    for (const [index, result] of results.entries()) {
      if (index % 10 === 3) {
        expect(result).toMatchObject({ status: 'rejected', reason: { code: 'CHUNK_INVALID' } })
        continue
      }
      const { buffer } = (result as PromiseFulfilledResult<Uint8Array<ArrayBuffer>>).value
      const place = { id: keyedHash(idKey, plains[index]!), offset: 0 }
      const plain = await pool.plain({ buffer, place, idKey })
      expect(Buffer.from(plain).equals(plains[index]!)).toBe(true)
    }
  })

  test('takes the buffer, and refuses one that is gone', async () => {
    await using pool = new RecordPool(1)
    const job = jobOf(new Uint8Array(10))
    await pool.ingest(job)
    expect(job.stored.byteLength).toBe(0)
    // the table of heads stays: the caller needs it to know what the records are
    expect(job.heads).toEqual(jobOf(new Uint8Array(10)).heads)
    await expect(pool.ingest(job)).rejects.toMatchObject({ name: 'VarveError' })
    await pool.ingest(jobOf(new Uint8Array(10)))
  })

  test('its threads give way to the event loop and the database, which other tenants wait for', async () => {
    const niceOf = async (thread: string): Promise<number> => {
      const text = await readFile(`/proc/self/task/${thread}/stat`, 'utf8')
      // the 19th field, counted behind the name in parentheses
      return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[16])
    }
    const threads = (): Promise<string[]> => readdir('/proc/self/task')
    const before = await threads()
    await using pool = new RecordPool(2)
    await Promise.all([1, 2].map(() => pool.ingest(jobOf(new Uint8Array(10)))))
    const now = await threads()
    const nices = await Promise.all(now.filter((thread) => !before.includes(thread)).map(niceOf))
    expect(nices.filter((nice) => nice > getPriority())).toHaveLength(2)
    expect(await niceOf(String(process.pid))).toBe(getPriority())
    await using upkeep = new RecordPool(1, NICENESS.upkeep)
    await upkeep.ingest(jobOf(new Uint8Array(10)))
    const later = (await threads()).filter((thread) => !now.includes(thread))
    expect(Math.max(...(await Promise.all(later.map(niceOf))))).toBeGreaterThan(Math.max(...nices))
  })

  test('checks records where they lie, in a buffer that it takes', async () => {
    await using pool = new RecordPool(1)
    const plain = new Uint8Array(randomBytes(1000))
    const { buffer } = await pool.ingest(jobOf(plain))
    const place = {
      id: keyedHash(idKey, plain),
      offset: 0,
      type: 1,
      codec: 0,
      plainLength: 1000,
      storedLength: 1000,
      parts: 1,
      place: 0,
    } as const
    const places = [place, { ...place, plainLength: 999 }]
    expect(await pool.check({ buffer, places, idKey })).toEqual([null, 'it is not the record that the index names'])
    expect(buffer.byteLength).toBe(0)
  })

  test('damage that a thread finds is the datastore’s own', async () => {
    await using pool = new RecordPool(1)
    const plain = new Uint8Array(randomBytes(100))
    const { buffer } = await pool.ingest(jobOf(plain))
    const id = new Uint8Array(32).fill(9)
    const error = await pool.plain({ buffer, place: { id, offset: 0 }, idKey }).then(
      () => null,
      (thrown: unknown) => asVarveError(thrown),
    )
    expect(damageOf(error!)).toMatchObject({ id })
  })

  test('names the chunk that is damaged in the middle of many that are decoded together', async () => {
    await using pool = new RecordPool(1)
    const plains = Array.from({ length: 64 }, (_, index) => new Uint8Array(4096).fill(index))
    const chunks = plains.map((plain) => zstdChunk(keyedHash(idKey, plain), plain))
    const bad = { ...chunks[40]!, id: new Uint8Array(32).fill(40) }
    const job = { ...joinChunks(chunks.toSpliced(40, 1, bad)), idKey, chunkBytes: 4096 }
    await expect(pool.ingest(job)).rejects.toMatchObject({ code: 'CHUNK_INVALID', details: { id: hex(bad.id) } })
    await pool.ingest({ ...joinChunks(chunks), idKey, chunkBytes: 4096 })
  })

  test('refuses work past its bound and finishes what it took', async () => {
    await using pool = new RecordPool(1)
    const results = await Promise.allSettled(Array.from({ length: 1100 }, () => pool.ingest(jobOf(new Uint8Array(10)))))
    const refused = results.filter(({ status }) => status === 'rejected')
    expect(refused.length).toBe(1100 - 1025)
    for (const one of refused) expect(one).toMatchObject({ reason: { code: 'TOO_MANY_REQUESTS' } })
  })

  test('at its end rejects what is under way and takes no more', async () => {
    const pool = new RecordPool(1)
    const jobs = Array.from({ length: 20 }, () => pool.ingest(jobOf(new Uint8Array(4096))))
    const settled = Promise.allSettled(jobs)
    await pool[Symbol.asyncDispose]()
    for (const one of await settled)
      if (one.status === 'rejected') expect(one.reason).toMatchObject({ code: 'STORE_FAILED' })
    await expect(pool.ingest(jobOf(new Uint8Array(1)))).rejects.toMatchObject({ code: 'STORE_FAILED' })
  })
})
