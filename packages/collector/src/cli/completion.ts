/** `rootspan completion`: scripts for shells, made from the commands and flags that there are. */
import { Argument, type Command } from 'commander'
import type { Io } from './io.ts'

const SHELLS = ['bash', 'zsh', 'fish'] as const
type Shell = (typeof SHELLS)[number]

/** What is known of a command: enough to complete it. */
interface CompletedCommand {
  readonly name: string
  readonly description: string
  readonly options: readonly CompletedOption[]
  /** Words that its argument may be. */
  readonly words: readonly string[]
}

interface CompletedOption {
  readonly long: string
  readonly short: string | undefined
  readonly description: string
  /** What follows it; undefined for a switch. */
  readonly value: 'file' | 'directory' | 'words' | 'other' | undefined
  readonly words: readonly string[]
}

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']

export function addCompletion(program: Command, io: Io): void {
  program
    .command('completion')
    .summary('print a completion script for bash, zsh or fish')
    .description('Prints a script that completes commands and flags.')
    .addArgument(new Argument('<shell>', 'the shell').choices(SHELLS))
    .addHelpText(
      'after',
      '\nExamples:\n  $ rootspan completion bash > ~/.local/share/bash-completion/completions/rootspan\n  $ rootspan completion zsh > ~/.zfunc/_rootspan   # a directory of $fpath\n  $ rootspan completion fish > ~/.config/fish/completions/rootspan.fish',
    )
    .action((shell: Shell) => {
      io.stdout.write(FORMATS[shell](listCommands(program)))
    })
}

/** The commands of a program, with help and version. */
function listCommands(program: Command): CompletedCommand[] {
  const help = { long: '--help', short: '-h', description: 'show help', value: undefined, words: [] }
  return program.commands.map((command) => ({
    name: command.name(),
    description: command.summary(),
    words: command.registeredArguments.flatMap((argument) => argument.argChoices ?? []),
    options: [
      ...command.options.map((option) => ({
        long: option.long ?? '',
        short: option.short,
        description: option.description,
        value: valueKind(option.flags),
        words: option.long === '--log-level' ? LOG_LEVELS : [],
      })),
      help,
    ],
  }))
}

function valueKind(flags: string): CompletedOption['value'] {
  const name = /<(.+)>/.exec(flags)?.[1]
  if (name === undefined || name === 'file' || name === 'directory') return name
  return name === 'level' ? 'words' : 'other'
}

const FORMATS: Readonly<Record<Shell, (commands: readonly CompletedCommand[]) => string>> = {
  bash: formatBash,
  zsh: formatZsh,
  fish: formatFish,
}

function formatBash(commands: readonly CompletedCommand[]): string {
  const options = commands.flatMap((command) => command.options)
  const flagsFor = (value: CompletedOption['value']): string =>
    [
      ...new Set(
        options
          .filter((option) => option.value === value)
          .flatMap((option) => (option.short === undefined ? [option.long] : [option.long, option.short])),
      ),
    ].join('|')
  const cases = commands.map(
    (command) =>
      `    ${command.name}) words="${[...command.words, ...command.options.map((option) => option.long)].join(' ')}" ;;`,
  )
  return `# bash completion for rootspan
_rootspan() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} command= words= i
  COMPREPLY=()
  case $previous in
    ${flagsFor('file')}) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$current")); return ;;
    ${flagsFor('directory')}) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$current")); return ;;
    ${flagsFor('words')}) COMPREPLY=($(compgen -W "${LOG_LEVELS.join(' ')}" -- "$current")); return ;;
    ${flagsFor('other')}) return ;;
  esac
  for ((i = 1; i < COMP_CWORD; i++)); do
    case \${COMP_WORDS[i]} in
      ${commands.map((command) => command.name).join('|')}) command=\${COMP_WORDS[i]}; break ;;
    esac
  done
  case $command in
${cases.join('\n')}
    *) words="${commands.map((command) => command.name).join(' ')} --help --version" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _rootspan rootspan
`
}

function formatZsh(commands: readonly CompletedCommand[]): string {
  const argument = (option: CompletedOption): string => {
    if (option.value === undefined) return ''
    if (option.value === 'file') return ':file:_files'
    if (option.value === 'directory') return ':directory:_files -/'
    return option.words.length > 0 ? `:level:(${option.words.join(' ')})` : ':value: '
  }
  const spec = (option: CompletedOption): string =>
    [option.long, ...(option.short === undefined ? [] : [option.short])]
      .map((name) => `        '${name}[${zshText(option.description)}]${argument(option)}'`)
      .join(' \\\n')
  const cases = commands.map((command) =>
    [
      `    ${command.name})`,
      '      _arguments \\',
      [
        ...command.options.map(spec),
        ...(command.words.length > 0 ? [`        '1:argument:(${command.words.join(' ')})'`] : []),
      ].join(' \\\n'),
      '      ;;',
    ].join('\n'),
  )
  return `#compdef rootspan
# zsh completion for rootspan
_rootspan() {
  local -a commands
  commands=(
${commands.map((command) => `    '${command.name}:${zshText(command.description)}'`).join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    _arguments '--help[show help]' '--version[show the version]'
    return
  fi
  shift words
  (( CURRENT-- ))
  case $words[1] in
${cases.join('\n')}
  esac
}
if [ "$funcstack[1]" = _rootspan ]; then _rootspan "$@"; else compdef _rootspan rootspan; fi
`
}

function formatFish(commands: readonly CompletedCommand[]): string {
  const lines = [
    '# fish completion for rootspan',
    'complete -c rootspan -f',
    "complete -c rootspan -n __fish_use_subcommand -l version -d 'show the version'",
    "complete -c rootspan -n __fish_use_subcommand -s h -l help -d 'show help'",
  ]
  for (const command of commands) {
    lines.push(
      `complete -c rootspan -n __fish_use_subcommand -a ${command.name} -d '${fishText(command.description)}'`,
    )
    const condition = `-n '__fish_seen_subcommand_from ${command.name}'`
    if (command.words.length > 0)
      lines.push(`complete -c rootspan ${condition} -a '${command.words.join(' ')}'`)
    for (const option of command.options) {
      const short = option.short === undefined ? '' : ` -s ${option.short.slice(1)}`
      lines.push(
        `complete -c rootspan ${condition} -l ${option.long.slice(2)}${short}${fishValue(option)} -d '${fishText(option.description)}'`,
      )
    }
  }
  return `${lines.join('\n')}\n`
}

function fishValue({ value, words }: CompletedOption): string {
  if (value === undefined) return ''
  if (value === 'file') return ' -r -F'
  if (value === 'directory') return " -x -a '(__fish_complete_directories)'"
  return words.length > 0 ? ` -x -a '${words.join(' ')}'` : ' -x'
}

/** Text inside single quotes and brackets of `_arguments`. */
function zshText(text: string): string {
  return text.replace(/[[\]:\\]/g, '\\$&').replaceAll("'", `'\\''`)
}

function fishText(text: string): string {
  return text.replace(/[\\']/g, '\\$&')
}
