/** Completion scripts, made from the commands themselves. */
import type { Command } from 'commander'

export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

interface Offer {
  readonly name: string
  readonly description: string
  /** Options with a long name; whether they take a file. */
  readonly options: readonly {
    readonly flag: string
    readonly description: string
    readonly takesFile: boolean
  }[]
  /** What its argument may be, where that is a short list. */
  readonly choices: readonly string[]
}

export function completionScript(shell: Shell, program: Command): string {
  const offers = program.commands.map(offerOf)
  const name = program.name()
  return shell === 'bash' ? bash(name, offers) : shell === 'zsh' ? zsh(name, offers) : fish(name, offers)
}

function offerOf(command: Command): Offer {
  return {
    name: command.name(),
    description: command.description(),
    options: command.options.flatMap(({ long, description, flags }) =>
      long ? [{ flag: long, description, takesFile: flags.includes('<file>') }] : [],
    ),
    choices: command.registeredArguments[0]?.argChoices ?? [],
  }
}

function bash(name: string, offers: readonly Offer[]): string {
  const fn = `_${name.replaceAll('-', '_')}`
  const words = ({ options, choices }: Offer): string =>
    [...choices, ...options.map((each) => each.flag)].join(' ')
  return `${fn}() {
  local current=\${COMP_WORDS[COMP_CWORD]} words
  case \${COMP_WORDS[1]} in
${offers.map((offer) => `    ${offer.name}) words='${words(offer)}' ;;`).join('\n')}
    *) words='' ;;
  esac
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '${offers.map((offer) => offer.name).join(' ')} --help --version' -- "$current"))
  else
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  fi
}
complete -o default -F ${fn} ${name}
`
}

function zsh(name: string, offers: readonly Offer[]): string {
  const fn = `_${name.replaceAll('-', '_')}`
  const spec = ({ options, choices }: Offer): string =>
    [
      ...options.map(
        ({ flag, description, takesFile }) =>
          `'${flag}[${quoteZsh(description)}]${takesFile ? ':file:_files' : ''}'`,
      ),
      choices.length > 0 ? `'1:argument:(${choices.join(' ')})'` : "'*:file:_files'",
    ].join(' ')
  return `#compdef ${name}
${fn}() {
  if (( CURRENT == 2 )); then
    local -a commands=(${offers.map((offer) => `'${offer.name}:${quoteZsh(offer.description)}'`).join(' ')})
    _describe command commands
    return
  fi
  local command=\${words[2]}
  shift words
  (( CURRENT-- ))
  case $command in
${offers.map((offer) => `    ${offer.name}) _arguments ${spec(offer)} ;;`).join('\n')}
  esac
}
if [ "\${funcstack[1]}" = ${fn} ]; then ${fn} "$@"; else compdef ${fn} ${name}; fi
`
}

/** Within single quotes, and where zsh reads brackets and colons. */
function quoteZsh(text: string): string {
  return text.replaceAll("'", "'\\''").replace(/[[\]:]/g, '\\$&')
}

function fish(name: string, offers: readonly Offer[]): string {
  const lines = [`complete -c ${name} -n __fish_use_subcommand -l help -d 'print help'`]
  lines.push(`complete -c ${name} -n __fish_use_subcommand -l version -d 'print the version'`)
  for (const { name: command, description, options, choices } of offers) {
    const on = `complete -c ${name} -n '__fish_seen_subcommand_from ${command}'`
    lines.push(`complete -c ${name} -f -n __fish_use_subcommand -a ${command} -d '${quoteFish(description)}'`)
    for (const { flag, description: says, takesFile } of options)
      lines.push(`${on} -l ${flag.slice(2)}${takesFile ? ' -r -F' : ''} -d '${quoteFish(says)}'`)
    if (choices.length > 0) lines.push(`${on} -f -a '${choices.join(' ')}'`)
  }
  return `${lines.join('\n')}\n`
}

function quoteFish(text: string): string {
  return text.replaceAll(/[\\']/g, '\\$&')
}
