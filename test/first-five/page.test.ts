// README's first five minutes: what is read out of the page, that its commands exist, and the part without root, executed.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { runCommand } from '../support/runner.ts'
import { tempFolder } from '../support/temp.ts'
import { freePort, onPort } from './port.ts'
import { blocksOf, programCalls, scriptOf, type Block } from './page.ts'

const root = path.resolve(import.meta.dirname, '../..')
const page = readFileSync(path.join(root, 'README.md'), 'utf8')
const blocks = blocksOf(page)

/** The program and its command, such as `varve-gateway tenant add`. */
const commandOf = ({ program, words }: { program: string; words: readonly string[] }): string =>
  [program, words[0], ...(['tenant', 'token'].includes(words[0]!) ? [words[1]] : [])].join(' ')

describe('the page', () => {
  test('gives its blocks with who runs them, and nothing else of it', () => {
    const document = [
      '    before',
      '<!-- first-five: root. Words. -->',
      'text',
      '',
      '    one \\',
      '      two',
      '',
      '    three',
      '<!-- first-five: user -->',
      '    four',
      '<!-- first-five: end -->',
      '    after',
    ]
    expect(blocksOf(document.join('\n'))).toEqual([
      { who: 'root', line: 5, text: 'one \\\n  two' },
      { who: 'root', line: 8, text: 'three' },
      { who: 'user', line: 10, text: 'four' },
    ] satisfies Block[])
  })

  test('has a part for root, one for a user, and what the user may have already', () => {
    for (const who of ['root', 'user', 'install'] as const)
      expect(blocks.filter((block) => block.who === who).length, who).toBeGreaterThan(0)
  })

  test('names commands and options that exist', async () => {
    // those of the part without root are executed below
    const executed = new Set(programCalls(blocks.filter(({ who }) => who === 'user')).map(commandOf))
    const calls = programCalls(blocks.filter(({ who }) => who === 'root'))
    expect(calls.length).toBeGreaterThan(10)
    const asked = new Map<string, Set<string>>()
    for (const call of calls.filter((one) => !executed.has(commandOf(one)))) {
      const { words } = call
      const options = words.filter((word) => word.startsWith('--')).map((word) => word.split('=')[0]!)
      const command = commandOf(call)
      asked.set(command, (asked.get(command) ?? new Set()).union(new Set(options)))
    }
    const wrong: string[] = []
    for (const [command, options] of asked) {
      const [program = '', ...words] = command.split(' ')
      const { stdout } = await runCommand(program === 'varve-agent' ? 'agent' : 'gateway', [...words, '--help'])
      wrong.push(...[...options].filter((option) => !stdout.includes(option)).map((option) => `${command} ${option}`))
    }
    expect(wrong).toEqual([])
  })
})

describe('unit files', () => {
  test.each(['gateway', 'agent'])('the %s has one, which starts what the page puts on the path', (name) => {
    const unit = readFileSync(path.join(root, name, `varve-${name}.service`), 'utf8')
    const [, program = '', command = ''] = /^ExecStart=(\S+) (\w+)/mu.exec(unit) ?? []
    expect(program).toBe(`/usr/local/bin/varve-${name}`)
    expect(page).toContain(`/opt/varve/${name}/varve-${name}`)
    expect(existsSync(path.join(root, name, `varve-${name}`))).toBe(true)
    expect(command).toBe(name === 'gateway' ? 'serve' : 'run')
  })

  test('the gateway runs as the user that the page makes, and the agent’s helpers outlive it', () => {
    const gateway = readFileSync(path.join(root, 'gateway/varve-gateway.service'), 'utf8')
    const [, user] = /^User=(\w+)$/mu.exec(gateway) ?? []
    expect(page).toMatch(new RegExp(`useradd .* ${user}\\n`, 'u'))
    expect(readFileSync(path.join(root, 'agent/varve-agent.service'), 'utf8')).toMatch(/^KillMode=process$/mu)
  })
})

test('the part without root works, line by line', async () => {
  await using temp = await tempFolder('five')
  const bin = temp.join('bin')
  await mkdir(bin)
  for (const name of ['gateway', 'agent'])
    await writeFile(path.join(bin, `varve-${name}`), `#!/bin/sh\nexec ${root}/${name}/varve-${name} "$@"\n`, {
      mode: 0o755,
    })
  const script = onPort(scriptOf(blocks.filter(({ who }) => who === 'user')), await freePort())
  await writeFile(temp.join('script'), script)
  const env = { ...process.env, HOME: temp.path, PATH: `${bin}:${process.env['PATH'] ?? ''}` }
  const { status, output } = spawnSync('bash', [temp.join('script')], { env, cwd: temp.path, encoding: 'utf8' })
  expect(status, output.join('\n')).toBe(0)
  expect(output[1]).toContain('Images are identical.')
  expect(existsSync(temp.join('try'))).toBe(false)
})
