if $_isvoid($bpnum)
  tbreak __flatland_main
end
