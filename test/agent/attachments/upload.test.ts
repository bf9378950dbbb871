// Uploads of gathered files to a gateway that the test plays: every size around chunks, what it has, proofs, and a later start.
import { randomBytes, randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { uploadAttachment } from '../../../agent/attachments/upload.ts'
import { systemClock } from '../../../protocol/host/clock.ts'
import { Pace } from '../../../agent/pace.ts'
import { Throttle } from '../../../protocol/host/throttle.ts'
import { asVarveError, VarveError } from '../../../protocol/errors.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'
import { ID_KEY, idOf, UploadGateway, type UploadScript } from '../image/upload-gateway.ts'
import { peerPair } from '../session/peer-pair.ts'

const CHUNK = 4096

const upload = async (temp: TempFolder, content: Buffer, script: UploadScript = {}, size = content.length) => {
  const path = temp.join('spooled')
  await writeFile(path, content)
  const gateway = new UploadGateway(script)
  const pair = peerPair({ 'image.upload': gateway.serve }, systemClock)
  try {
    await uploadAttachment(
      {
        peer: pair.agent,
        job: randomUUID(),
        chunkBytes: CHUNK,
        idKey: ID_KEY,
        throttle: new Throttle(null, systemClock),
        signal: new AbortController().signal,
        pace: new Pace(systemClock),
        onRead: () => undefined,
      },
      { name: 'file', size, path },
    )
    return gateway
  } finally {
    pair.agent.close(new VarveError('CANCELLED', 'done'))
  }
}

/** Random with a chunk of zeroes in the middle. */
const contentOf = (size: number): Buffer => {
  const content = randomBytes(size)
  content.subarray(2 * CHUNK, 3 * CHUNK).fill(0)
  return content
}

test.each([1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK, 5 * CHUNK + 700, 3 * 1024 * 1024 + 13])(
  '%i bytes arrive as they are, zeroes as zeroes',
  async (size) => {
    await using temp = await tempFolder()
    const content = contentOf(size)
    const gateway = await upload(temp, content)
    expect(gateway.ended).toBe(true)
    expect(gateway.content(size, CHUNK).equals(content)).toBe(true)
    expect(gateway.places.some(({ kind }) => kind === 'zero')).toBe(size >= 3 * CHUNK)
    expect(gateway.places.some(({ kind }) => kind === 'keep')).toBe(false)
  },
)

test('an empty file is not uploaded: announcing it is enough', async () => {
  await using temp = await tempFolder()
  const gateway = await upload(temp, Buffer.alloc(0))
  expect([gateway.messages, gateway.ended]).toEqual([0, false])
})

test('what the gateway has is not sent, what another machine has is proved, and a broken upload goes on', async () => {
  await using temp = await tempFolder()
  const content = contentOf(9 * CHUNK)
  const chunk = (index: number): Buffer => content.subarray(index * CHUNK, (index + 1) * CHUNK)
  const have = new Set([idOf(chunk(0))])
  const prove = new Map([4, 5].map((index) => [idOf(chunk(index)), chunk(index)]))
  const gateway = await upload(temp, content, { have, prove, damaged: new Set([idOf(chunk(5))]) })
  expect(gateway.proved.toSorted()).toEqual([...prove.keys()].toSorted())
  // the damaged one comes after all
  expect(gateway.chunks.has(idOf(chunk(5)))).toBe(true)
  expect([gateway.chunks.has(idOf(chunk(0))), gateway.chunks.has(idOf(chunk(4)))]).toEqual([false, false])
  const later = await upload(temp, content, { position: 6 })
  expect(later.content(content.length, CHUNK).equals(content.subarray(6 * CHUNK))).toBe(true)
})

test('a gathered file that became shorter is no point’s', async () => {
  await using temp = await tempFolder()
  const failed = upload(temp, randomBytes(CHUNK), {}, 3 * CHUNK).catch((thrown: unknown) => asVarveError(thrown).code)
  expect(await failed).toBe('INTERNAL')
})
