// medfusion completions and medfusion man: what an installation gives shells and man(1), from what CLI11
// knows of the commands and their options. Hidden from --help.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <functional>
#include <memory>
#include <sstream>
#include <vector>

#include "tools/medfusion/commands/common.h"
#include "tools/medfusion/config/ready_configs.h"
#include "tools/medfusion/config/text_file.h"

namespace medfusion::tools {
namespace {

using Options = std::vector<const CLI::Option*>;

// The program has an empty path, `kernels list` the path "kernels list".
using CommandVisitor = std::function<void(const std::string& path, const CLI::App& command)>;

std::vector<const CLI::App*> shown_commands(const CLI::App& command) {
  return command.get_subcommands([](const CLI::App* each) { return !each->get_group().empty(); });
}

Options shown_options(const CLI::App& command) {
  return command.get_options([](const CLI::Option* each) { return !each->get_group().empty(); });
}

void visit_commands(const std::string& path, const CLI::App& command, const CommandVisitor& visit) {
  visit(path, command);
  for (const CLI::App* each : shown_commands(command))
    visit_commands(path + (path.empty() ? "" : " ") + each->get_name(), *each, visit);
}

// "--threads"; the short name where there is no long one; empty for a positional argument.
std::string dashed_name(const CLI::Option& option) {
  if (!option.get_lnames().empty()) return "--" + option.get_lnames().front();
  return option.get_snames().empty() ? "" : "-" + option.get_snames().front();
}

bool takes_value(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

// CLI11 keeps the choices of an option in the name of its type: "TEXT:{honest,as-published}".
std::string choices_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const size_t open = type.find('{'), close = type.find('}');
  if (open == std::string::npos || close == std::string::npos) return {};
  return replace_all(type.substr(open + 1, close - open - 1), ",", " ");
}

bool takes_config(const CLI::App& command) { return command.get_option_no_throw("config") != nullptr; }

// Text of a man page: no character of it is a request of the formatter.
std::string in_roff(const std::string& text) {
  std::string result;
  std::istringstream lines(replace_all(replace_all(text, "\\", "\\e"), "-", "\\-"));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(".") || line.starts_with("'")) result += "\\&";
    result += line + "\n";
  }
  return result;
}

// bash and zsh: `command` becomes the path of the command that the words before the cursor name.
std::string find_command(const CLI::App& program, const std::string& loop, const std::string& word) {
  std::vector<std::string> known;
  visit_commands("", program, [&](const std::string& path, const CLI::App&) {
    if (path.empty()) return;
    known.push_back(path.find(' ') == std::string::npos ? "\" " + path + "\"" : "\"" + path + "\"");
  });
  return fmt::format(
      "  local command= i\n"
      "  for (({})); do\n"
      "    case \"$command {}\" in\n"
      "      {}) command=${{command:+$command }}{} ;;\n"
      "    esac\n"
      "  done\n",
      loop, word, fmt::join(known, "|"), word);
}

// bash and zsh: what follows an option that takes a value. `choose` gets the choices; `{}` stands for them.
std::string complete_values(const CLI::App& program, const std::string& before, const std::string& choose,
                            const std::string& take_file) {
  std::string cases;
  std::vector<std::string> files;
  visit_commands("", program, [&](const std::string& path, const CLI::App& command) {
    for (const CLI::Option* option : shown_options(command)) {
      const std::string name = dashed_name(*option);
      if (name.empty() || !takes_value(*option)) continue;
      const std::string pattern = fmt::format("\"{} {}\"", path, name), choices = choices_of(*option);
      if (choices.empty()) {
        files.push_back(pattern);
      } else {
        cases += fmt::format("    {}) {}; return ;;\n", pattern, fmt::format(fmt::runtime(choose), choices));
      }
    }
  });
  return fmt::format("  case \"$command {}\" in\n{}    {}) {} ;;\n  esac\n", before, cases,
                     fmt::join(files, "|"), take_file);
}

std::string bash_completions(const CLI::App& program) {
  std::string cases;
  visit_commands("", program, [&](const std::string& path, const CLI::App& command) {
    std::vector<std::string> words;
    for (const CLI::App* each : shown_commands(command)) words.push_back(each->get_name());
    if (takes_config(command)) words = ready_config_names();
    for (const CLI::Option* option : shown_options(command)) {
      if (!dashed_name(*option).empty()) words.push_back(dashed_name(*option));
    }
    cases += fmt::format("    \"{}\") words=\"{}\" ;;\n", path, fmt::join(words, " "));
  });
  return "# bash completion of medfusion, made by: medfusion completions bash\n"
         "_medfusion() {\n"
         "  local word=${COMP_WORDS[COMP_CWORD]} words=\n"
         "  COMPREPLY=()\n" +
         find_command(program, "i = 1; i < COMP_CWORD; ++i", "${COMP_WORDS[i]}") +
         complete_values(program, "${COMP_WORDS[COMP_CWORD-1]}",
                         "COMPREPLY=($(compgen -W \"{}\" -- \"$word\"))", "return") +
         "  case \"$command\" in\n" + cases +
         "  esac\n"
         "  COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
         "}\n"
         "complete -o default -F _medfusion medfusion\n";
}

std::string zsh_completions(const CLI::App& program) {
  std::string cases;
  const auto entry = [](const std::string& name, const std::string& text) {
    return " " + in_single_quotes(replace_all(name, ":", "\\:") + ":" + text);
  };
  visit_commands("", program, [&](const std::string& path, const CLI::App& command) {
    std::string entries;
    for (const CLI::App* each : shown_commands(command))
      entries += entry(each->get_name(), each->get_description());
    if (takes_config(command)) {
      for (const std::string& name : ready_config_names()) entries += entry(name, "Ready configuration");
    }
    for (const CLI::Option* option : shown_options(command)) {
      if (!dashed_name(*option).empty()) entries += entry(dashed_name(*option), option->get_description());
    }
    cases += fmt::format("    \"{}\") entries=({} ) ;;\n", path, entries);
  });
  return "#compdef medfusion\n"
         "# zsh completion of medfusion, made by: medfusion completions zsh\n"
         "_medfusion() {\n" +
         find_command(program, "i = 2; i < CURRENT; ++i", "${words[i]}") +
         complete_values(program, "${words[CURRENT-1]}", "compadd -- {}", "_files; return") +
         "  local -a entries\n"
         "  case \"$command\" in\n" +
         cases +
         "  esac\n"
         "  _describe medfusion entries\n"
         "  _files\n"
         "}\n"
         "if [ \"$funcstack[1]\" = _medfusion ]; then _medfusion \"$@\"; else compdef _medfusion medfusion; "
         "fi\n";
}

std::string fish_completions(const CLI::App& program) {
  std::string text = "# fish completion of medfusion, made by: medfusion completions fish\n";
  visit_commands("", program, [&](const std::string& path, const CLI::App& command) {
    std::string condition = "__fish_use_subcommand";
    if (!path.empty())
      condition =
          "__fish_seen_subcommand_from " +
          fmt::format("{}", fmt::join(CLI::detail::split(path, ' '), "; and __fish_seen_subcommand_from "));
    const auto add = [&](const std::string& what, const std::string& description,
                         const std::string& more = "") {
      text += fmt::format("complete -c medfusion -n {}{} {} -d {}\n", in_single_quotes(condition + more),
                          what.starts_with("-a") ? " -f" : "", what, in_single_quotes(description));
    };
    std::string names;
    for (const CLI::App* each : shown_commands(command)) names += " " + each->get_name();
    for (const CLI::App* each : shown_commands(command)) {
      add("-a " + each->get_name(), each->get_description(),
          path.empty() ? "" : "; and not __fish_seen_subcommand_from" + names);
    }
    if (takes_config(command)) {
      for (const std::string& name : ready_config_names()) add("-a " + name, "Ready configuration");
    }
    for (const CLI::Option* option : shown_options(command)) {
      if (dashed_name(*option).empty()) continue;
      std::string what;
      for (const std::string& name : option->get_snames()) what += (what.empty() ? "-s " : " -s ") + name;
      for (const std::string& name : option->get_lnames()) what += (what.empty() ? "-l " : " -l ") + name;
      const std::string choices = choices_of(*option);
      if (!choices.empty()) {
        what += " -x -a " + in_single_quotes(choices);
      } else if (takes_value(*option)) {
        what += " -r";
      }
      add(what, option->get_description());
    }
  });
  return text;
}

// One page for the program and all its commands, in the language of man(7).
std::string man_page(const CLI::App& program) {
  const CLI::Formatter formatter;
  std::string text = fmt::format(
      ".TH MEDFUSION 1 \"\" \"medfusion {}\" \"User Commands\"\n.SH NAME\nmedfusion \\- {}.SH SYNOPSIS\n"
      ".B medfusion\nCOMMAND [OPTIONS]\n",
      MEDFUSION_VERSION, in_roff(program.get_description()));
  visit_commands("", program, [&](const std::string& path, const CLI::App& command) {
    if (path.empty()) {
      text += ".SH OPTIONS\n";
    } else {
      text += fmt::format(".SS \"medfusion {}\"\n{}", path, in_roff(command.get_description()));
    }
    for (const CLI::Option* option : shown_options(command)) {
      const bool positional = dashed_name(*option).empty();
      text += ".TP\n.B " +
              in_roff(formatter.make_option_name(option, positional) + formatter.make_option_opts(option));
      text += in_roff(formatter.make_option_desc(option));
    }
    if (!command.get_footer().empty()) text += ".PP\n.nf\n" + in_roff(command.get_footer()) + ".fi\n";
    if (path.empty()) text += ".SH COMMANDS\n";
  });
  return text +
         ".SH EXIT STATUS\n0: done. 1: failed at run time. 2: bad input. Errors are one line on standard "
         "error.\n";
}

// A script for "bash", "zsh" or "fish" that completes commands, options, their choices, and names of ready
// configurations.
std::string completions(const CLI::App& program, const std::string& shell) {
  if (shell == "bash") return bash_completions(program);
  return shell == "zsh" ? zsh_completions(program) : fish_completions(program);
}

}  // namespace

void add_shell_commands(CLI::App& program, Action& action) {
  CLI::App* command =
      program.add_subcommand("completions", "Print a completion script of a shell")->group("");
  const auto shell = std::make_shared<std::string>();
  command->add_option("shell", *shell, "Shell")->required()->check(one_of({"bash", "zsh", "fish"}));
  command->callback([shell, &program, &action] {
    action = [shell, &program] { print_text(completions(program, *shell)); };
  });
  program.add_subcommand("man", "Print the man page")->group("")->callback([&program, &action] {
    action = [&program] { print_text(man_page(program)); };
  });
}

}  // namespace medfusion::tools
