// Shapes of storage that a machine that is off has: read exactly, or refused by name.
import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { MIB } from '../../../support/lease.ts'
import { OfflineBench, offlineMachine } from '../../../support/offline.ts'
import { run } from '../../../support/run.ts'
import { tempFolder } from '../../../support/temp.ts'

const KIB64 = 65_536

const create = async (...args: readonly string[]): Promise<void> => {
  await run('qemu-img', ['create', '-q', ...args])
}

test('a data file and a chain are read; an image that is encrypted is refused by name', async () => {
  await using folder = await tempFolder()
  const at = (name: string): string => folder.join(name)
  await writeFile(at('key'), 'a passphrase')
  const key = ['--object', `secret,id=key,file=${at('key')}`]
  const luks = 'encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10'
  await create(...key, '-f', 'qcow2', '-o', luks, at('luks.qcow2'), String(MIB))
  await create('-f', 'qcow2', '-o', `data_file=${at('data')}`, at('parted.qcow2'), String(MIB))
  await create('-f', 'raw', at('base'), String(MIB))
  await run('qemu-io', ['-f', 'raw', '-c', `write -q -P 0x11 0 ${KIB64}`, at('base')])
  await create('-f', 'qcow2', '-b', at('base'), '-F', 'raw', at('middle'))
  await create('-f', 'qcow2', '-b', at('middle'), '-F', 'qcow2', at('chain.qcow2'))
  for (const name of ['parted.qcow2', 'chain.qcow2'])
    await run('qemu-io', ['-f', 'qcow2', '-c', `write -q -P 0x22 ${KIB64} ${KIB64}`, at(name)])
  await using host = new OfflineBench(folder.path, [])
  await using agent = await host.agent()

  const disks = ['parted', 'chain'].map((name) => ({ name, path: at(`${name}.qcow2`) }))
  const lease = await agent.driver.begin(host.request({ machine: offlineMachine(disks) }))
  const expected = { parted: [0, 0x22, 0], chain: [0x11, 0x22, 0] }
  for (const disk of lease.disks) {
    const content = await host.live.content(disk)
    const found = [0, KIB64, 2 * KIB64].map((offset) => content[offset])
    expect(found, disk.name).toEqual(expected[disk.name as keyof typeof expected])
  }
  await lease.end('failed')

  const encrypted = offlineMachine([...disks, { name: 'luks', path: at('luks.qcow2') }])
  await expect(agent.driver.begin(host.request({ machine: encrypted }))).rejects.toMatchObject({
    code: 'DISK_UNSUPPORTED',
    details: { disk: 'luks' },
    message: expect.stringMatching(/^disk luks .*secret/u),
  })
})
