"""The systems' optimizers as chains of rules: their formulas and defaults, on every engine.

`from steppers.styles.chains import miniai`, then `miniai.Adam(model.parameters())`. Names of
hyper-parameters are torch's (`betas`, `weight_decay`); `set_hyper` and constructors take the short
ones (`wd`, `mom`) too. What a system has in common with torch or a paper is in the catalogue.
"""
