num_classes_dict = {"gray": 2}
