// Holds the repository to its own rules. Method: read every file that git knows or would add, and look at its text.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { ERRORS } from '../protocol/errors.ts'
import { LONG_TESTS, NEWER_QEMU_TESTS } from './long.ts'

/** Longest source file in lines; a longer one holds more than one noun. */
const SOURCE_LINES_MAX = 350

/** Longest line of a comment, in characters. */
const COMMENT_CHARS_MAX = 130

/** The only places that may import a package, as path prefixes. */
const ONE_IMPORTER: Readonly<Record<string, readonly string[]>> = {
  msgpackr: ['protocol/codec.ts'],
  croner: ['gateway/plans/next-run.ts'],
  '@rgrove/parse-xml': ['agent/libvirt/xml.ts'],
  jose: ['gateway/auth/', 'agent/identity.ts'],
  ws: ['gateway/session/socket.ts', 'gateway/commands/dial-local.ts', 'protocol/host/dial.ts'],
}

/** The only file of the console that Node runs. */
const BUILD_OF_CONSOLE = 'gateway/console/build.ts'

const root = path.resolve(import.meta.dirname, '..')

const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
  cwd: root,
  encoding: 'utf8',
  maxBuffer: 64 * 1024 * 1024,
})
const files = listed.split('\0').filter((file) => file !== '' && existsSync(path.join(root, file)))
const textOf = (file: string): string => readFileSync(path.join(root, file), 'utf8')
const isSource = (file: string): boolean => /^(protocol|agent|gateway)\/.*\.tsx?$/.test(file)
const sources = files.filter(isSource)
const scripts = files.filter((file) => /\.tsx?$/.test(file))
const written = files.filter((file) => /\.(tsx?|js|mjs|json|md|sh|css|html|toml|yml)$|^\.ci\//.test(file))

interface Import {
  readonly file: string
  /** As written: a package name, `node:...` or a relative path. */
  readonly specifier: string
  /** The repository path that a relative specifier names; undefined for a package. */
  readonly target: string | undefined
}

const IMPORT_PATTERN = /(?<![.\w])(?:from\s+|import\s*\(?\s*)(['"])([^'"\n]+)\1/g

/** Files beside it that a file starts as a worker or process, or makes a bundle of. */
const startsOf = (file: string): string[] =>
  [...textOf(file).matchAll(/new URL\(\s*'([^'\n]+\.tsx?)',\s*import\.meta\.url/g)].map((match) =>
    path.join(path.dirname(file), match[1] ?? ''),
  )

const importsOf = (file: string): Import[] =>
  [...textOf(file).matchAll(IMPORT_PATTERN)].map((match) => {
    const specifier = match[2] ?? ''
    const relative = specifier.startsWith('.')
    return { file, specifier, target: relative ? path.join(path.dirname(file), specifier) : undefined }
  })

const packageOf = (specifier: string): string =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')

const sourceImports = sources.flatMap(importsOf)
/** In the folder of what agent and gateway both need from Node, and no browser may have. */
const isHost = (file: string): boolean => file.startsWith('protocol/host/')
const folderOf = (file: string): string => file.split('/')[0] ?? ''

/** The imports that break a rule, as `file -> specifier`, for a readable failure. */
const broken = (rule: (found: Import) => boolean): string[] =>
  sourceImports.filter(rule).map(({ file, specifier }) => `${file} -> ${specifier}`)

/** Every line that matches, as `file:line: text`. */
const linesThat = (among: readonly string[], pattern: RegExp): string[] =>
  among.flatMap((file) =>
    textOf(file)
      .split('\n')
      .flatMap((line, index) => (pattern.test(line) ? [`${file}:${index + 1}: ${line.trim()}`] : [])),
  )

/** Everything that a file imports or starts as a worker or process of its own, directly or through others. */
const reachOf = (file: string): Set<string> => {
  const reached = new Set([file])
  for (const next of reached) {
    const targets = [...importsOf(next).map(({ target }) => target), ...startsOf(next)]
    for (const target of targets) if (target !== undefined && files.includes(target)) reached.add(target)
  }
  return reached
}

const reaches = new Map(files.filter((file) => file.endsWith('.test.ts')).map((file) => [file, reachOf(file)]))

/** A test of the same name, or one of the same folder or a folder above it that reaches the source. */
const isTested = (source: string): boolean => {
  const own = path.join('test', source.replace(/\.tsx?$/, '.test.ts'))
  const near = (test: string): boolean => {
    const folder = path.dirname(test)
    return folder !== 'test' && path.dirname(own).concat('/').startsWith(`${folder}/`)
  }
  return [...reaches].some(([test, reached]) => test === own || (near(test) && reached.has(source)))
}

const untested = sources.filter((source) => !isTested(source))

// The patterns are put together from pieces so that this file does not match itself.
const pieces = (...parts: string[]): RegExp => new RegExp(parts.join(''))

describe('imports', () => {
  test('protocol imports nothing of ours and nothing of Node; its folder for the programs alone may use Node', () => {
    const outside = broken(
      ({ file, specifier, target }) =>
        folderOf(file) === 'protocol' &&
        ((specifier.startsWith('node:') && !isHost(file)) ||
          (target !== undefined && (folderOf(target) !== 'protocol' || (isHost(target) && !isHost(file))))),
    )
    expect(outside).toEqual([])
  })

  test('agent and gateway import themselves and protocol only', () => {
    const outside = broken(
      ({ file, target }) =>
        folderOf(file) !== 'protocol' &&
        target !== undefined &&
        folderOf(target) !== 'protocol' &&
        folderOf(target) !== folderOf(file),
    )
    expect(outside).toEqual([])
  })

  test('the console imports itself, protocol and packages; only what builds it uses Node', () => {
    const inConsole = (file: string): boolean => file.startsWith('gateway/console/')
    const outside = broken(({ file, specifier, target }) => {
      if (file === BUILD_OF_CONSOLE) return target !== undefined
      if (!inConsole(file)) return target !== undefined && inConsole(target)
      if (target === undefined) return specifier.startsWith('node:') || specifier === 'esbuild'
      return target === BUILD_OF_CONSOLE || !(inConsole(target) || (folderOf(target) === 'protocol' && !isHost(target)))
    })
    expect(outside).toEqual([])
  })

  test('a relative import names an existing file with its extension', () => {
    const missing = broken(({ target }) => target !== undefined && !files.includes(target))
    expect(missing).toEqual([])
  })

  test('a path from the folder of a script to another one names an existing file', () => {
    const asked = (file: string): string[] =>
      [...textOf(file).matchAll(/'(\.{1,2}\/[\w./-]+\.tsx?)'/g)].map((match) =>
        path.join(path.dirname(file), match[1] ?? ''),
      )
    const missing = scripts.flatMap((file) =>
      asked(file)
        .filter((target) => !files.includes(target))
        .map((target) => `${file} -> ${target}`),
    )
    expect(missing).toEqual([])
  })

  test.each(Object.entries(ONE_IMPORTER))('%s is imported in its one place', (name, places) => {
    const elsewhere = broken(
      ({ file, specifier }) => packageOf(specifier) === name && !places.some((place) => file.startsWith(place)),
    )
    expect(elsewhere).toEqual([])
  })

  test('sources import no development dependency', () => {
    const manifest = JSON.parse(textOf('package.json')) as { dependencies: Record<string, string> }
    const unknown = broken(
      ({ specifier, target }) =>
        target === undefined &&
        !specifier.startsWith('node:') &&
        !Object.hasOwn(manifest.dependencies, packageOf(specifier)),
    )
    expect(unknown).toEqual([])
  })
})

describe('files', () => {
  test(`sources have at most ${SOURCE_LINES_MAX} lines`, () => {
    const long = sources
      .map((file) => ({ file, lines: textOf(file).split('\n').length - 1 }))
      .filter(({ lines }) => lines > SOURCE_LINES_MAX)
    expect(long).toEqual([])
  })

  test(`lines of comments have at most ${COMMENT_CHARS_MAX} characters`, () => {
    const comment = /^\s*(\/\/|\/\*\*|\*) /
    const wide = scripts.flatMap((file) =>
      textOf(file)
        .split('\n')
        .flatMap((line, index) =>
          line.length > COMMENT_CHARS_MAX && comment.test(line) ? [`${file}:${index + 1}`] : [],
        ),
    )
    expect(wide).toEqual([])
  })

  test('names are kebab-case', () => {
    expect(scripts.filter((file) => !/^[a-z0-9.-]+$/.test(path.basename(file)))).toEqual([])
  })

  test('every script says in its first line what it holds', () => {
    const silent = scripts.filter((file) => !/^(#!.*\n)?(\/\/ \S|\/\*\* \S)/.test(textOf(file)))
    expect(silent).toEqual([])
  })

  test('every source is reached by a test of its own name or of its folder', () => {
    expect(untested).toEqual([])
  })
})

describe('text', () => {
  test('nothing is left for later', () => {
    expect(linesThat(written, pieces('\\bTO', 'DO\\b|\\bFIX', 'ME\\b|\\bXX', 'X\\b'))).toEqual([])
  })

  test('no test is skipped, focused or marked as failing', () => {
    const tests = files.filter((file) => file.endsWith('.test.ts'))
    expect(
      linesThat(tests, pieces('\\b(test|it|describe|bench)\\.', '(only|skip|todo|fails|skipIf|runIf)\\b')),
    ).toEqual([])
  })

  test('no rule of the compiler or the linter is silenced by a cast to any or an ignored line', () => {
    expect(linesThat(scripts, pieces('@ts-', '(ignore|nocheck|expect-error)|\\bas ', 'any\\b'))).toEqual([])
  })

  test('no path of one developer, no address of a package registry', () => {
    const own = pieces('(^|[^\\w.])/(wo', 'rk|home)/|registry\\.', 'npmjs|\\.pkg\\.', 'dev')
    expect(linesThat(written, own)).toEqual([])
    expect(linesThat(['package-lock.json'], pieces('"resolved": "(?!https://registry\\.', 'npmjs\\.org/)'))).toEqual([])
  })

  test('nothing prints in sources but the commands', () => {
    const commands = /^(agent|gateway)\/(main|commands)|\/commands?\//
    const quiet = sources.filter((file) => !commands.test(file))
    expect(linesThat(quiet, pieces('\\bconsole\\.', '(log|error|warn|info|debug)\\('))).toEqual([])
  })
})

describe('documents', () => {
  test('every test that npm test leaves to another command is there', () => {
    expect([...LONG_TESTS, ...NEWER_QEMU_TESTS].filter((file) => !files.includes(file))).toEqual([])
  })

  test('every file of ours that a document or a comment names exists', () => {
    const named = /(?<![\w/.-])(?:\.+\/)*((?:[\w-]+\/)+[\w.-]+\.(?:tsx?|md|sh))\b/g
    const spoken = (file: string, line: string): boolean =>
      /\.(md|sh|yml)$/.test(file) || /^\s*(\/\/|\/?\*)|\s\/\/ /.test(line)
    const folders = ['gateway', 'agent', 'protocol', 'test']
    const ours = (name: string): boolean =>
      files.some((file) => folders.includes(folderOf(file)) && `/${file}`.endsWith(`/${name}`))
    const missing = written.flatMap((file) =>
      textOf(file)
        .split('\n')
        .filter((line) => spoken(file, line))
        .flatMap((line) => [...line.matchAll(named)].map((match) => match[1] ?? ''))
        .filter((name) => !name.includes('/NAME/') && !ours(name))
        .map((name) => `${file}: ${name}`),
    )
    expect(missing).toEqual([])
  })

  const codes = Object.keys(ERRORS)
  const CODE_PATTERN = /`([A-Z]{2,}(?:_[A-Z]+)*)`/g

  test('every error code is explained in PROTOCOL.md', () => {
    const named = new Set([...textOf('protocol/PROTOCOL.md').matchAll(CODE_PATTERN)].map((match) => match[1] ?? ''))
    expect(codes.filter((code) => !named.has(code))).toEqual([])
  })

  test('every code in the error table of PROTOCOL.md exists', () => {
    const section = textOf('protocol/PROTOCOL.md')
      .split(/^## /m)
      .find((text) => /^.*\berrors?\b/i.test(text))
    const rows = [...(section ?? '').matchAll(/^\|\s*`([A-Z_]+)`\s*\|/gm)].map((match) => match[1] ?? '')
    expect(rows.length).toBeGreaterThan(0)
    expect(rows.filter((code) => !codes.includes(code))).toEqual([])
  })
})
