// Builds the console: one bundle in pieces with hashed names and a Brotli file beside each, put in place whole.
import { randomBytes } from 'node:crypto'
import { realpathSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { brotliCompress, constants } from 'node:zlib'
import { build, stop, type Metafile } from 'esbuild'

const SOURCE = import.meta.dirname
const ENTRY = fileURLToPath(new URL('main.tsx', import.meta.url))

/** Where the gateway looks for the console. */
export const CONSOLE_FOLDER = path.join(SOURCE, 'dist')

/** In the built folder: the page, everything that it loads, and when its sources were read. */
export const PAGE_NAME = 'page.html'
export const PIECES_NAME = 'console'
const STAMP_NAME = '.built'

export interface ConsoleOptions {
  /** Where the result goes; what is there is replaced. */
  readonly folder?: string
  /** What the bundle starts from. */
  readonly entry?: string
  readonly page?: string
}

const compress = promisify(brotliCompress)

const compressed = (bytes: Uint8Array): Promise<Buffer> =>
  compress(bytes, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
  })

/** What the page has to load first, by names inside of the folder of pieces. */
const firstOf = (
  { outputs }: Metafile,
  first: string,
): { script: string; style: string | null; preloads: string[] } => {
  // what is loaded later is an entry point of its own
  const name = path.relative(SOURCE, first)
  const entry = Object.entries(outputs).find(([, { entryPoint }]) => entryPoint === name)
  if (entry === undefined) throw new Error('the bundle has no entry')
  const [script, { cssBundle, imports }] = entry
  const preloads = imports.filter(({ kind }) => kind === 'import-statement').map((found) => path.basename(found.path))
  return { script: path.basename(script), style: cssBundle === undefined ? null : path.basename(cssBundle), preloads }
}

/** The page with the names of its pieces; relative, as a proxy may serve it below a path of its own. */
const pageOf = (template: string, metafile: Metafile, first: string): string => {
  const { script, style, preloads } = firstOf(metafile, first)
  const hints = preloads.map((name) => `<link rel="modulepreload" href="${PIECES_NAME}/${name}" />`)
  const styles = style === null ? [] : [`<link rel="stylesheet" href="${PIECES_NAME}/${style}" />`]
  return template
    .replace(/ *<link rel="stylesheet" href="STYLE" \/>\n/u, () =>
      [...styles, ...hints].map((tag) => `    ${tag}\n`).join(''),
    )
    .replace('src="SCRIPT"', () => `src="${PIECES_NAME}/${script}"`)
}

const bundle = async (entry: string, outdir: string): Promise<Metafile> => {
  const { metafile } = await build({
    absWorkingDir: SOURCE,
    entryPoints: [entry],
    outdir,
    bundle: true,
    splitting: true,
    format: 'esm',
    minify: true,
    metafile: true,
    target: 'es2024',
    charset: 'utf8',
    legalComments: 'none',
    entryNames: '[name]-[hash]',
    chunkNames: '[name]-[hash]',
    assetNames: '[name]-[hash]',
    jsx: 'automatic',
    jsxImportSource: 'preact',
    // the page's policy forbids code that is made of text
    alias: { msgpackr: 'msgpackr/index-no-eval' },
    logLevel: 'warning',
  })
  return metafile
}

/** Renames the new folder over the old one, which a running gateway has in its memory. */
const replace = async (made: string, folder: string): Promise<void> => {
  const old = `${made}.old`
  await rename(folder, old).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
  })
  await rename(made, folder)
  await rm(old, { recursive: true, force: true })
}

/** Builds the console into its folder, which others see before or after, and gives the folder. */
export const buildConsole = async (options: ConsoleOptions = {}): Promise<string> => {
  const { folder = CONSOLE_FOLDER, entry = ENTRY, page = path.join(SOURCE, PAGE_NAME) } = options
  // sources that change from now on are newer than the result
  const startedS = Date.now() / 1000
  const made = `${folder}.${randomBytes(6).toString('hex')}`
  const pieces = path.join(made, PIECES_NAME)
  try {
    await mkdir(pieces, { recursive: true })
    const metafile = await bundle(entry, pieces)
    await writeFile(path.join(made, PAGE_NAME), pageOf(await readFile(page, 'utf8'), metafile, entry))
    const names = (await readdir(pieces)).map((name) => path.join(pieces, name))
    for (const file of [path.join(made, PAGE_NAME), ...names])
      await writeFile(`${file}.br`, await compressed(await readFile(file)))
    const stamp = path.join(made, STAMP_NAME)
    await writeFile(stamp, '')
    await utimes(stamp, startedS, startedS)
    await replace(made, folder)
  } finally {
    // else its process stays until this one ends
    await stop()
    await rm(made, { recursive: true, force: true })
  }
  return folder
}

if (import.meta.filename === realpathSync(process.argv[1] ?? '.')) await buildConsole()
