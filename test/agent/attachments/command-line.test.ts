// Command lines as shells take them back, with no secret in them in any of the forms that QEMU takes.
import { execFileSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { commandText, REMOVED, withoutSecretsOf } from '../../../agent/attachments/command-line.ts'

const SECRET = 'hunter2'

describe('secrets', () => {
  test.each([
    ['-object', `secret,id=s0,data=${SECRET}`],
    ['-object', `secret,id=s0,data=a,,${SECRET},format=raw`],
    ['--object', `qom-type=secret,data=${SECRET},id=s0`],
    ['-object', JSON.stringify({ 'qom-type': 'secret', id: 's0', data: SECRET })],
    ['-spice', `port=5900,password=${SECRET}`],
    ['-iscsi', `user=me,password=${SECRET}`],
    ['-drive', `file=rbd:pool/image:id=admin:key=${SECRET}==:auth_supported=cephx,format=raw`],
    ['-drive', `file=https://me:${SECRET}@host/disk.img`],
    ['-blockdev', JSON.stringify({ driver: 'ssh', nested: { password: SECRET, url: `ftp://u:${SECRET}@h/` } })],
    ['-object', `id=s0,qom-type=secret,data=${SECRET}`],
    ['-drive', `file=https://me:p@${SECRET}@host/disk.img`],
    ['-drive', `file.driver=https,file.url=https://host/,file.cookie=session=${SECRET}`],
    ['-blockdev', `driver=raw,file.file.password=${SECRET},node-name=n`],
    ['-blockdev', JSON.stringify({ driver: 'raw', 'file.cookie': SECRET })],
    ['-smbios', `type=11,value=io.systemd.credential:root=${SECRET}`],
    ['-fw_cfg', `name=opt/io.systemd.credentials/root,string=${SECRET}`],
  ])('%s %s', (option, value) => {
    const [, cleaned] = withoutSecretsOf([option, value])
    expect(cleaned).not.toContain(SECRET)
    expect(cleaned).toContain(REMOVED)
  })

  test.each([
    ['-vnc', '127.0.0.1:0,password=on'],
    ['-object', 'rng-random,id=r,filename=/dev/urandom'],
    ['-drive', 'file=/d.raw,if=none,id=data=1,file.key-secret=s0,password-secret=s1'],
    ['-object', 'memory-backend-ram,id=data,size=1G'],
    ['-blockdev', JSON.stringify({ driver: 'file', data: 'none', filename: '/a b' })],
    ['-append', 'root=/dev/vda console=ttyS0'],
  ])('%s %s has none, and stays as it is', (option, value) => {
    expect(withoutSecretsOf([option, value])).toEqual([option, value])
  })
})

test('a shell takes back what it was given, whatever is in it', () => {
  const args = ['printf', '%s\\n', '-name', 'it\'s, "quoted" $HOME `id` \\ *', '', 'line\nbreak', '-m', '64', 'ä']
  const text = commandText(args)
  expect(text.split('\n')[0]).toBe("printf '%s\\n' \\")
  expect(execFileSync('sh', ['-c', text]).toString()).toBe(`${args.slice(2).join('\n')}\n`)
})
