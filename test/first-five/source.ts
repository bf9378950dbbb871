// This repository as others clone it: what git knows of the work tree, committed or not, as one commit of its own.
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, lstatSync, mkdirSync } from 'node:fs'
import path from 'node:path'

const root = path.resolve(import.meta.dirname, '../..')

const git = (folder: string, ...args: string[]): string =>
  execFileSync('git', ['-C', folder, '-c', 'user.name=varve', '-c', 'user.email=varve@localhost', ...args], {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  })

/** Makes a repository of the work tree in `folder`. */
export const sourceIn = (folder: string): void => {
  mkdirSync(folder, { recursive: true })
  const listed = git(root, 'ls-files', '-z', '--cached', '--others', '--exclude-standard').split('\0')
  for (const file of listed) {
    const from = path.join(root, file)
    if (file !== '' && existsSync(from) && lstatSync(from).isFile()) cpSync(from, path.join(folder, file))
  }
  git(folder, 'init', '--quiet', '--initial-branch=main')
  git(folder, 'add', '--all')
  git(folder, 'commit', '--quiet', '--message', 'As it is')
}
