// The QEMU of a drill: it dies with this process, gives way to everything else, and cannot fill the disk.
import { startTied } from '../processes/tied-process.ts'

export interface DrillQemu extends AsyncDisposable {
  readonly pid: number
  /** Resolves with what it said, once it has ended. */
  readonly ended: Promise<string>
}

/** Last in line for the processor and the disk, first to go where memory runs out, and no file longer than this. */
const limited = (fileBytesMax: number): string[] => [
  'prlimit',
  `--fsize=${fileBytesMax}`,
  '--core=0',
  'nice',
  '-n',
  '19',
  'ionice',
  '-c',
  '3',
  'choom',
  '-n',
  '1000',
  '--',
]

/** TOOL_MISSING. */
export const startQemu = async (
  program: string,
  words: readonly string[],
  { folder, fileBytesMax }: { readonly folder: string; readonly fileBytesMax: number },
): Promise<DrillQemu> => {
  const qemu = await startTied([...limited(fileBytesMax), program, ...words], { folder })
  return { pid: qemu.pid, ended: qemu.ended, [Symbol.asyncDispose]: () => qemu.end('SIGKILL') }
}
