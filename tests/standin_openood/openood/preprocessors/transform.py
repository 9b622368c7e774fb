normalization_dict = {"gray": [[0.5] * 3, [0.25] * 3]}
