// The QEMU processes of a host, looked at while they run: real ones of several styles, held, hidden and out of reach.
import { execFileSync, spawn } from 'node:child_process'
import { chmod, rm } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { findQemus, type FoundQemu } from '../../../agent/discover/host-qemus.ts'
import { QmpClient } from '../../../agent/qmp/client.ts'
import { holdSocket, startQemuProcess } from '../../support/qemu-process.ts'
import { eventually, tempFolder } from '../../support/temp.ts'

/** Other tests have machines of their own on this host. */
const found = async (pid: number): Promise<FoundQemu> => (await findQemus()).qemus.find((one) => one.pid === pid)!

const states = ({ monitors }: FoundQemu): unknown =>
  monitors.map(({ path, closed, state }) => closed ?? `${path} ${state}`)

test('every style of a monitor is found free, and looking at it disturbs nobody', async () => {
  await using temp = await tempFolder()
  const [first, second, third, people] = ['a b.qmp', 'pretty.qmp', 'long.qmp', 'hmp'].map((name) => temp.join(name))
  await using qemu = await startQemuProcess({
    cwd: temp.path,
    sockets: ['a b.qmp', second!, third!],
    args: [
      '-name',
      'guest=db1,debug-threads=on',
      '-uuid',
      '3f2a91c0-9d2e-4c58-8f6a-0b7c61d5e214',
      '-qmp',
      'unix:a b.qmp,server=on,wait=off',
      '-qmp-pretty',
      `unix:${second},server,nowait`,
      '-chardev',
      `socket,id=m,path=${third},server=on,wait=off`,
      '-mon',
      'chardev=m,mode=control',
      '-monitor',
      `unix:${people},server=on,wait=off`,
      '-qmp',
      'tcp:127.0.0.1:0,server=on,wait=off',
    ],
  })
  const looked = await found(qemu.pid)
  expect(looked).toMatchObject({ name: 'db1', uuid: '3f2a91c0-9d2e-4c58-8f6a-0b7c61d5e214', uid: 0, manager: null })
  // a relative path is found where the process began
  expect(states(looked)).toEqual([
    `${first} free`,
    `${second} free`,
    expect.stringContaining('network port'),
    `${third} free`,
  ])
  const client = await QmpClient.connect({ path: first! })
  expect(await client.execute('query-name')).toEqual({ name: 'db1' })
  expect(states(await found(qemu.pid))).toEqual([
    `${first} held`,
    `${second} free`,
    expect.stringContaining('network port'),
    `${third} free`,
  ])
  // the client that it has is served on
  expect(await client.execute('query-name')).toEqual({ name: 'db1' })
  client.close()
  await eventually(async () => (await found(qemu.pid)).monitors[0]!.state === 'free')
})

test('a client that only waits for its turn holds a monitor too', async () => {
  await using temp = await tempFolder()
  const file = temp.join('q')
  const args = ['-qmp', `unix:${file},server=on,wait=off`]
  await using qemu = await startQemuProcess({ cwd: temp.path, sockets: [file], args })
  const served = await holdSocket(file)
  const waiting = await holdSocket(file)
  expect(states(await found(qemu.pid))).toEqual([`${file} held`])
  served.destroy()
  waiting.destroy()
  await eventually(async () => (await found(qemu.pid)).monitors[0]!.state === 'free')
})

test('a monitor that waits for its first client is free', async () => {
  await using temp = await tempFolder()
  const file = temp.join('q')
  await using qemu = await startQemuProcess({
    cwd: temp.path,
    sockets: [file],
    args: ['-qmp', `unix:${file},server=on`],
  })
  expect(states(await found(qemu.pid))).toEqual([`${file} free`])
})

test('a socket whose file was removed is absent', async () => {
  await using temp = await tempFolder()
  const file = temp.join('q')
  const args = ['-qmp', `unix:${file},server=on,wait=off`]
  await using first = await startQemuProcess({ cwd: temp.path, sockets: [file], args })
  await rm(file)
  expect(states(await found(first.pid))).toEqual([`${file} absent`])
})

test('a monitor in another mount namespace is elsewhere', async () => {
  await using temp = await tempFolder()
  const file = '/mnt/q'
  const through = ['unshare', '-m', 'sh', '-c', 'mount -t tmpfs none /mnt && exec "$@"', 'sh']
  const args = ['-qmp', `unix:${file},server=on,wait=off`]
  await using qemu = await startQemuProcess({ cwd: temp.path, sockets: [file], args, through })
  const looked = await eventually(
    async () => (await found(qemu.pid))?.monitors[0]?.state !== 'absent' && found(qemu.pid),
  )
  expect(states(looked)).toEqual([`${file} elsewhere`])
})

test('a guest agent, and disks by their whole paths', async () => {
  await using temp = await tempFolder()
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', temp.join('a.qcow2'), '1M'])
  const [file, guest] = [temp.join('q'), temp.join('qga')]
  await using qemu = await startQemuProcess({
    cwd: temp.path,
    machine: 'q35',
    sockets: [file, guest],
    args: [
      '-qmp',
      `unix:${file},server=on,wait=off`,
      '-blockdev',
      'qcow2,node-name=a,file.driver=file,file.filename=a.qcow2',
      '-device',
      'virtio-blk-pci,drive=a,id=vda',
      '-chardev',
      `socket,path=${guest},server=on,wait=off,id=g`,
      '-device',
      'virtio-serial-pci',
      '-device',
      'virtserialport,chardev=g,name=org.qemu.guest_agent.0',
    ],
  })
  const looked = await found(qemu.pid)
  expect(looked.disks).toEqual([{ name: 'vda', path: temp.join('a.qcow2'), format: 'qcow2' }])
  expect(looked.guestAgent).toEqual({ path: guest, state: 'free' })
})

test('a program that has such a name only among its arguments, or calls itself so, is none', async () => {
  const shell = spawn('sh', ['-c', 'read x', 'qemu-system-x86_64', '-name', 'db1'])
  const masked = spawn('sleep', ['60'], { argv0: 'qemu-system-x86_64' })
  const { qemus, processes } = await findQemus()
  expect(qemus.filter(({ pid }) => pid === shell.pid || pid === masked.pid)).toEqual([])
  expect(processes).toBeGreaterThan(2)
  shell.kill()
  masked.kill()
})

test('another user sees what is held, and that it may not connect', async () => {
  await using temp = await tempFolder()
  await chmod(temp.path, 0o755)
  const [file, other] = [temp.join('q'), temp.join('r')]
  const args = [
    '-qmp',
    `unix:${file},server=on,wait=off`,
    '-qmp',
    `unix:${other},server=on,wait=off`,
    '-qmp',
    'unix:s,server=on,wait=off',
  ]
  await using qemu = await startQemuProcess({ cwd: temp.path, sockets: [file, other, 's'], args })
  await chmod(file, 0o700)
  const held = await holdSocket(other)
  const module = new URL('../../../agent/discover/host-qemus.ts', import.meta.url).pathname
  const script = `const { findQemus } = await import(${JSON.stringify(module)}); process.stdout.write(JSON.stringify(await findQemus()))`
  const text = execFileSync('setpriv', [
    '--reuid=65534',
    '--regid=65534',
    '--clear-groups',
    process.execPath,
    '-e',
    script,
  ])
  const { qemus, unseen } = JSON.parse(text.toString()) as Awaited<ReturnType<typeof findQemus>>
  // a relative path cannot be followed without the process's folder
  expect(states(qemus.find(({ pid }) => pid === qemu.pid)!)).toEqual([
    `${file} forbidden`,
    `${other} held`,
    's unknown',
  ])
  expect(unseen.join()).toContain('run this as root')
  held.destroy()
})
