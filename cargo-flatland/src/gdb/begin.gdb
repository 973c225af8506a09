define when
  monitor when
end
document when
How many instructions the guest has executed, and whether this is its past.
end
define goto
  monitor goto $arg0 quietly
  maintenance flush register-cache
  frame
end
document goto
goto N|start|end: go to where N instructions had been executed.
end
define last-write
  if $argc == 2
    eval "monitor last-write %#x $arg1", $arg0
  else
    eval "monitor last-write %#x", $arg0
  end
end
document last-write
last-write ADDRESS [BYTES]: the last instruction that wrote there.
end
define who
  monitor who $arg0
end
document who
who REGISTER: the last instruction that wrote it.
end
