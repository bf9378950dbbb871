// Files that are not what a machine that is off is taken to have: of another kind or format, or written behind QEMU's lock.

import { open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { MIB } from '../../../support/lease.ts'
import { OfflineBench, offlineMachine } from '../../../support/offline.ts'
import { startQemuProcess } from '../../../support/qemu-process.ts'
import { run } from '../../../support/run.ts'
import { tempFolder } from '../../../support/temp.ts'

test('a pipe in the place of a disk, or below one, is refused without being opened', async () => {
  await using folder = await tempFolder()
  const pipe = join(folder.path, 'pipe.qcow2')
  await run('mkfifo', [pipe])
  const over = join(folder.path, 'over.qcow2')
  await run('qemu-img', ['create', '-q', '-u', '-f', 'qcow2', '-b', pipe, '-F', 'qcow2', over, '4M'])
  const host = new OfflineBench(folder.path, [])
  await using agent = await host.agent()
  for (const path of [pipe, over])
    for (const format of ['qcow2', 'raw'] as const) {
      if (path === over && format === 'raw') continue
      const machine = offlineMachine([{ name: 'vda', path, format }])
      const refused = agent.driver.begin(host.request({ machine }))
      await expect(refused).rejects.toMatchObject({ code: 'DISK_UNSUPPORTED', message: expect.stringContaining(pipe) })
      if (path === pipe) expect(await agent.driver.look(machine)).toMatchObject({ reachable: false })
    }
})

test('an image whose format nobody names is not stored as the raw disk that it is not', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'db1.img')
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', path, '4M'])
  const host = new OfflineBench(folder.path, [])
  await using agent = await host.agent()
  const machine = offlineMachine([{ name: 'vda', path }])
  const sentence = expect.stringContaining('format = "qcow2"')
  const refused = agent.driver.begin(host.request({ machine }))
  await expect(refused).rejects.toMatchObject({ code: 'DISK_UNSUPPORTED', message: sentence })
  expect(await agent.driver.look(machine)).toMatchObject({ reachable: false, problem: sentence })
  for (const [format, size] of [
    ['qcow2', 4 * MIB],
    ['raw', expect.any(Number)],
  ] as const) {
    const named = offlineMachine([{ name: 'vda', path, format }])
    const lease = await agent.driver.begin(host.request({ machine: named }))
    expect(lease.disks.map((disk) => disk.size)).toEqual([size])
    await lease.end('failed')
  }
})

test('what is written below a disk behind QEMU’s lock ends the lease too', async () => {
  await using folder = await tempFolder()
  const [below, over] = [join(folder.path, 'below.raw'), join(folder.path, 'over.qcow2')]
  await writeFile(below, Buffer.alloc(MIB, 0x11))
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', below, '-F', 'raw', over])
  const host = new OfflineBench(folder.path, [])
  await using agent = await host.agent()
  const lease = await agent.driver.begin(host.request({ machine: offlineMachine([{ name: 'vda', path: over }]) }))
  await lease.check()
  const file = await open(below, 'r+')
  await file.write(Buffer.alloc(512, 1), 0, 512, 0)
  await file.close()
  await expect(lease.check()).rejects.toMatchObject({ code: 'LEASE_LOST', message: expect.stringContaining(below) })
  await lease.end('failed')
})

test('a machine that runs without QEMU’s lock is refused, also while it writes nothing', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'a.qcow2')
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', path, '4M'])
  const host = new OfflineBench(folder.path, [])
  await using agent = await host.agent()
  const file = `file.driver=file,file.filename=${path},file.locking=off`
  const monitor = join(folder.path, 'qmp')
  await using machine = await startQemuProcess({
    args: ['-blockdev', `driver=qcow2,node-name=vda,${file}`, '-qmp', `unix:${monitor},server=on,wait=off`],
    cwd: folder.path,
    sockets: [monitor],
  })
  const refused = agent.driver.begin(host.request({ machine: offlineMachine([{ name: 'vda', path }]) }))
  await expect(refused).rejects.toMatchObject({ code: 'DISK_IN_USE', details: { pid: machine.pid } })
})
