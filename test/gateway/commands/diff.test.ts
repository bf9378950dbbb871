// The diff command on the folder of a stopped gateway: ranges, figures, several disks' defaults, and what it refuses.
import { expect, test } from 'vitest'
import { EXIT } from '../../../protocol/host/exit.ts'
import { startGateway } from '../../support/gateway.ts'
import { tempFolder } from '../../support/temp.ts'
import { Stand } from '../chains/script.ts'
import { addTenant, CHUNK_BYTES, openDatastore } from '../datastore/fixture.ts'
import { changed, randomDisk } from '../maintenance/stand.ts'
import { runGateway } from '../program.ts'

test('two points of a machine, a point and nothing, and points that are not there', async () => {
  await using temp = await tempFolder()
  const data = temp.join('data')
  {
    await using _gateway = await startGateway({ folder: data })
  }
  const points: string[] = []
  {
    await using datastore = await openDatastore(data)
    const tenant = await addTenant(datastore, 'small')
    const stand = new Stand({ path: data, [Symbol.asyncDispose]: async () => {} }, datastore, tenant)
    const machine = await stand.machine('db1')
    const plains = randomDisk(100)
    points.push((await stand.point(machine, plains, 30)).id)
    const second = changed(plains, 7, 8, 70)
    second[20] = null
    points.push((await stand.point(machine, second, 31)).id)
  }
  const [older, newer] = points as [string, string]
  const diff = (...args: readonly string[]) => runGateway(['diff', ...args, '--data', data, '--tenant', 'small'])
  const two = await diff(older, newer)
  expect(two.code).toBe(EXIT.ok)
  expect(two.stdout).toBe(
    [
      'DISK  OFFSET  BYTES  NOW',
      `vda   ${7 * CHUNK_BYTES}   ${2 * CHUNK_BYTES}   data`,
      `vda   ${20 * CHUNK_BYTES}   ${CHUNK_BYTES}   zero`,
      `vda   ${70 * CHUNK_BYTES}  ${CHUNK_BYTES}   data`,
      'vda: 16.0 KiB of 400 KiB differ: 12.0 KiB data, 4.0 KiB zeroes.',
      '',
    ].join('\n'),
  )
  const json = await diff(older, newer, '--json', '--granularity', '64K')
  expect(JSON.parse(json.stdout)).toEqual({
    ranges: [
      { disk: 'vda', offset: 0, bytes: 131_072, kind: 'data' },
      { disk: 'vda', offset: 262_144, bytes: 65_536, kind: 'data' },
    ],
    disks: [
      {
        disk: 'vda',
        size: 100 * CHUNK_BYTES,
        fromSize: 100 * CHUNK_BYTES,
        granularity: 65_536,
        changedBytes: 196_608,
        dataBytes: 196_608,
        zeroBytes: 0,
        damagedBytes: 0,
      },
    ],
  })
  expect((await diff('none', older, '--summary')).stdout).toBe(
    'vda: 400 KiB of 400 KiB differ (against an empty disk): 400 KiB data.\n',
  )
  expect((await diff(newer, newer, '--disk', 'vda')).stdout).toBe('vda: nothing of 400 KiB differs.\n')
  for (const [args, word] of [
    [['ffffffff', newer], 'there is no restore point ffffffff'],
    [[older, newer, '--disk', 'vdz'], 'has no disk "vdz"; its disks: "vda"'],
    [[older, newer, '--disk', 'vda', '--from-disk', 'vdz'], 'has no disk "vdz"'],
  ] as const) {
    const failed = await diff(...args)
    expect([failed.code, failed.stderr]).toEqual([EXIT.failed, expect.stringContaining(word)])
  }
  for (const wrong of [
    ['--granularity', '3K'],
    ['--granularity', 'x'],
    ['--from-disk', 'vda'],
  ])
    expect((await diff(older, newer, ...wrong)).code).toBe(EXIT.usage)
})
