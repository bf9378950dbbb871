// The commands for a host: what a real shell makes of them, whatever disks and folders are called.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { commandsOf, nbdUri, type Wanted } from '../../../../../gateway/console/views/restore/commands.ts'

const run = promisify(execFile)

const POINT = '3f2a91c0-0000-4000-8000-000000000000'
const HOSTILE = [
  "it's $(touch /tmp/x) `id`",
  '-v; rm -rf "$HOME"',
  '~root',
  '=ls',
  '{a,b}*?[x]',
  '\\',
  '!! & | > < #',
  '\u202Egnp.\u2066',
]

const wanted = (rest: Partial<Wanted> = {}): Wanted => ({
  point: POINT,
  machine: 'db1',
  disks: [{ disk: 'vda', to: '/srv/a.raw' }],
  folder: '/srv/db1',
  gateway: null,
  ...rest,
})

/** The words that a shell gives to the program, line by line. */
const wordsOf = async (shell: string, command: string): Promise<string[][]> => {
  const programs = ['varve-agent', 'qemu-img', 'nbdinfo']
  const told = programs.map((name) => `${name.replace('-', '_')}() { printf '%s\\0' ${name} "$@"; printf '\\n\\0'; }`)
  const called = command.replaceAll(/^(varve-agent|qemu-img|nbdinfo) /gmu, (name) => name.replace('-', '_'))
  const { stdout } = await run(shell, ['-c', `${told.join('\n')}\n${called}`], { env: { HOME: '/srv/anna' } })
  return stdout
    .split('\n\0')
    .slice(0, -1)
    .map((line) => line.split('\0').slice(0, -1))
}

test('plain names stay as a person would type them, with the whole id', () => {
  const commands = commandsOf(wanted())
  expect(commands).toEqual({
    whole: `varve-agent restore ${POINT} --to /srv/db1 --define`,
    disks: `varve-agent restore ${POINT} --disk vda --to /srv/a.raw`,
    onto: `varve-agent restore ${POINT} --disk vda --onto /srv/a.raw`,
    instant: `varve-agent instant ${POINT} --to /srv/db1`,
    export: `varve-agent export ${POINT} --socket /run/varve-export.sock`,
    exported: [
      "nbdinfo 'nbd+unix:///vda?socket=/run/varve-export.sock'",
      "qemu-img convert -O qcow2 'nbd+unix:///vda?socket=/run/varve-export.sock' /var/tmp/db1.qcow2",
    ].join('\n'),
    drill: `varve-agent drill ${POINT}`,
  })
})

test.each(['sh', 'bash'])('%s gives hostile names on as they are', async (shell) => {
  const disks = HOSTILE.map((disk) => ({ disk, to: `/srv/${disk}` }))
  const folder = `/srv/${HOSTILE[0]}`
  const commands = commandsOf(wanted({ disks, folder }))
  expect(await wordsOf(shell, commands.disks)).toEqual(
    disks.map(({ disk, to }) => ['varve-agent', 'restore', POINT, '--disk', disk, '--to', to]),
  )
  expect(await wordsOf(shell, commands.onto)).toEqual(
    disks.map(({ disk, to }) => ['varve-agent', 'restore', POINT, '--disk', disk, '--onto', to]),
  )
  expect(await wordsOf(shell, commands.whole)).toEqual([['varve-agent', 'restore', POINT, '--to', folder, '--define']])
  expect(await wordsOf(shell, commands.instant)).toEqual([['varve-agent', 'instant', POINT, '--to', folder]])
  const [, [, , , , uri] = []] = await wordsOf(shell, commands.exported)
  expect(uri).toBe(nbdUri(HOSTILE[0]!))
  expect(decodeURIComponent(new URL(uri!.replace('nbd+unix', 'http').replace('///', '//x/')).pathname.slice(1))).toBe(
    HOSTILE[0],
  )
})

test('with a token each says the gateway', async () => {
  const commands = commandsOf(wanted({ gateway: 'wss://[::1]:8470' }))
  for (const command of [
    commands.whole,
    commands.disks,
    commands.onto,
    commands.export,
    commands.instant,
    commands.drill,
  ])
    expect((await wordsOf('sh', command))[0]!.slice(-4)).toEqual([
      '--gateway',
      'wss://[::1]:8470',
      '--token-file',
      '/srv/anna/.varve-token',
    ])
})
