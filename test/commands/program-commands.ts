// The commands that a program has, asked of the program itself.
import type { Command } from 'commander'

/** Those that are gone are hidden. */
const isShown = (command: Command): boolean => !('_hidden' in command && command._hidden === true)

/** Names of the commands that do something, such as `tenant add`. */
export const commandsOf = ({ commands }: Pick<Command, 'commands'>, before = ''): string[] =>
  commands.filter(isShown).flatMap((one) => {
    const name = `${before}${one.name()}`
    return one.commands.length === 0 ? [name] : commandsOf(one, `${name} `)
  })
