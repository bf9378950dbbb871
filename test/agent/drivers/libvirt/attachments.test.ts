// What goes with a domain's points, of a real domain of a real libvirtd: the same files while it runs and while it is off.
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { gather } from '../../../../agent/attachments/gather.ts'
import { xml } from '../../../../agent/libvirt/xml.ts'
import { qcow2Disks, startLibvirtBench, type LibvirtTestAgent } from '../../../support/libvirt-lease.ts'
import type { MachineConfig } from '../../../../agent/drivers/driver.ts'
import { tempFolder } from '../../../support/temp.ts'

const FLASH_BYTES = 128 * 1024

const gathered = async ({ driver }: LibvirtTestAgent, machine: MachineConfig) => {
  const files = new Map<string, Buffer>()
  const sources = await driver.attachments(machine)
  const missing = await gather(sources, new Set(), async (name, bytes) => void files.set(name, bytes))
  return { files, missing }
}

test('XML without passwords, firmware, NVRAM and autostart, running and off', async () => {
  await using folder = await tempFolder()
  const [code, vars] = [folder.join('code.fd'), folder.join('vars.fd')]
  await writeFile(code, Buffer.alloc(FLASH_BYTES, 1))
  await writeFile(vars, Buffer.alloc(FLASH_BYTES, 2))
  // of QEMU, which is another user
  for (const file of [code, vars]) await chmod(file, 0o666)
  await using bench = await startLibvirtBench(folder.path, qcow2Disks(folder.path, 1), {
    os: xml`<loader readonly='yes' type='pflash'>${code}</loader><nvram>${vars}</nvram>`,
    devices: xml`<graphics type='vnc' autoport='yes' passwd='hunter2'/>`,
  })
  await using agent = await bench.agent()
  const running = await gathered(agent, bench.configured)
  expect(running.missing).toEqual([])
  expect([...running.files.keys()]).toEqual(['domain.xml', 'autostart', 'nvram', 'pflash0'])
  const text = running.files.get('domain.xml')!.toString()
  expect(text).toContain(vars)
  expect(text).not.toContain('hunter2')
  expect(running.files.get('autostart')!.toString()).toBe('no\n')
  expect(running.files.get('nvram')).toEqual(await readFile(vars))
  expect(running.files.get('pflash0')).toEqual(await readFile(code))
  await bench.domain.setAutostart(true)
  await bench.domain.destroy()
  const off = await gathered(agent, bench.configured)
  expect(off.files.get('autostart')!.toString()).toBe('yes\n')
  expect([off.files.get('domain.xml'), off.files.get('nvram')]).toEqual([
    running.files.get('domain.xml'),
    running.files.get('nvram'),
  ])
})

test('a domain that is not there, and a libvirt that cannot be reached, are said', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, qcow2Disks(folder.path, 1))
  await using agent = await bench.agent()
  const { configured } = bench
  const { missing } = await gathered(agent, { ...configured, keys: { ...configured.keys, domain: 'nowhere' } })
  expect(missing).toMatchObject([{ name: 'domain.xml', reason: expect.stringContaining('nowhere') }])
})
